//! A router with clients, from command to response.

mod durability;
mod links;
mod messages;
mod operator;
mod queues;
mod services;
mod statistics;

use std::sync::Arc;
use std::time::Duration;

use super::store::QueueStatus;
use super::*;
use crate::crypto::{Algorithm, AuthPrivateKey, derivation, x25519};
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::sim::script::{AUTH, Queue, Script, refused, send, text};
use crate::sim::store::Contents;
use crate::sim::world::Sync;
use crate::smp::body::{Delivered, NMsgMeta};
use crate::smp::client::{Event, RequestError, Response};
use crate::smp::handshake::ServiceRole;
use crate::smp::{
    BlockingInfo, BlockingReason, ClientNotice, Command, CommandError, ContactLink, ErrorType,
    LinkData, MsgId, NewQueue, NotifierKeys, QueueLink, QueueMode, QueueRequest, ServiceQueues,
    SubscriptionMode,
};
use crate::wire::{Large, NonEmpty};
