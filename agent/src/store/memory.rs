//! A store that ends with the process.

use super::{Change, Load, Memory, Record, Store, StoreError};

impl Store for Memory {
    fn commit(&mut self, transactions: Vec<Vec<Change>>) -> Result<(), StoreError> {
        for changes in transactions {
            self.apply(changes);
        }
        Ok(())
    }

    fn load(&mut self, load: &Load) -> Result<Vec<Record>, StoreError> {
        Ok(Self::load(self, load))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
