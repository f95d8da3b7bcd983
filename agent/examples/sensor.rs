//! A sensor that needs no agent: it makes a queue, sends three readings to it, and receives them, with the client library alone.
//!
//!     cargo run -p simplex-agent --example sensor -- smp://FINGERPRINT@HOST:PORT
#![expect(clippy::print_stdout, reason = "that is where the readings go")]

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use simplex_runtime_tokio::{SmpClient, SmpOptions, Tokio, rng};
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, x25519};
use simplex_sans_io::smp::body::Delivered;
use simplex_sans_io::smp::client::Event;
use simplex_sans_io::smp::{BrokerMessage, MsgFlags, NewQueue, QueueRequest, SubscriptionMode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let router = std::env::args().nth(1).ok_or("which router?")?.parse()?;
    let mut rng = rng()?;
    let options = SmpOptions::to(&router)?;
    let (client, mut events, session) =
        SmpClient::connect(&Tokio::new(), options, rng.fork()).await?;
    tokio::spawn(session);

    // The one who reads owns the queue; the sensor only needs the id of its sender, and a key that it makes itself.
    let recipient =
        Arc::new(AuthPrivateKey::generate(Algorithm::X25519, &mut rng).ok_or("no keys")?);
    let sensor = Arc::new(AuthPrivateKey::generate(Algorithm::X25519, &mut rng).ok_or("no keys")?);
    let dh = x25519::PrivateKey::generate(&mut rng);
    let new = NewQueue {
        auth_key: recipient.public_key(),
        dh_key: dh.public_key(),
        password: None,
        subscription: SubscriptionMode::Subscribe,
        request: Some(QueueRequest::Messaging(None)),
        notifier: None,
    };
    let ids = client.create_queue(new, &recipient).await?;
    let secret = dh.agree(&ids.dh_key);
    client.secure(&ids.sender_id, &sensor).await?;

    for reading in ["21.5 °C", "21.7 °C", "22.0 °C"] {
        let flags = MsgFlags {
            notification: false,
        };
        let body = Bytes::from(reading);
        client
            .send(&ids.sender_id, Some(&sensor), flags, body)
            .await?;
        while let Some(event) = events.next().await {
            if let Event::Message {
                message: BrokerMessage::Msg { id, body },
                ..
            } = event
            {
                if let Delivered::Message(message) = Delivered::decrypt(&secret, &id, &body)? {
                    println!("{}", String::from_utf8_lossy(&message.body));
                }
                client.ack(&ids.recipient_id, &recipient, id).await?;
                break;
            }
        }
    }
    Ok(())
}
