//! The commands of SMP, each with its own response.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::SmpClient;
use crate::crypto::certificate::Chain;
use crate::crypto::{AuthPrivateKey, AuthPublicKey, x25519};
use crate::smp::client::{Request, RequestError, RequestId, Response};
use crate::smp::error::TransportError;
use crate::smp::proxy::RelaySession;
use crate::smp::{
    Command, LinkData, MsgFlags, MsgId, NameRecord, NewQueue, NotifierKeys, QueueIds, QueueInfo,
    ServiceQueues, SimplexDomain,
};
use crate::time::UnixTime;
use crate::wire::{BasicAuth, CorrId, EntityId, NonEmpty, ServerAddress, SmpScheme};

/// How long a proxy may take to have a session with a relay: it connects first.
const RELAY: Duration = Duration::from_secs(45);

/// The key that authorises a command.
type Key = Arc<AuthPrivateKey>;

fn plain(entity: &EntityId, command: Command) -> Request {
    Request::new(RequestId(0), entity.clone(), command)
}

fn signed(entity: &EntityId, key: &Key, command: Command) -> Request {
    plain(entity, command).authorized_by(Arc::clone(key))
}

/// A method for each line: its request, and what there is to be taken from the response.
macro_rules! commands {
    (impl [$($owner:ident),+] $lines:tt) => {
        $(commands! { @impl $owner $lines })+
    };
    (@impl $owner:ident {
        $(
            $(#[$doc:meta])*
            $name:ident($($argument:ident: $type:ty),*) -> $output:ty:
                $request:expr => $response:pat => $value:expr;
        )+
    }) => {
        impl $owner {
            $(
                $(#[$doc])*
                ///
                /// Cancel safety: as for [`SmpClient::request`].
                pub async fn $name(&self, $($argument: $type),*) -> Result<$output, RequestError> {
                    let response = self.request($request).await?;
                    let tag = response.tag();
                    let $response = response else {
                        return Err(RequestError::Unexpected(tag));
                    };
                    Ok($value)
                }
            )+
        }
    };
}

commands! {
    impl [SmpClient] {
        /// NEW: creates a queue, whose recipient has this key.
        create_queue(queue: NewQueue, key: &Key) -> QueueIds:
            signed(&EntityId::EMPTY, key, Command::New(Box::new(queue))) => Response::Queue(ids) => *ids;
        /// NEW: creates a queue with a link, whose ids in the command follow from the correlation id.
        create_queue_as(corr_id: CorrId, queue: NewQueue, key: &Key) -> QueueIds:
            Request {
                corr_id: Some(corr_id),
                ..signed(&EntityId::EMPTY, key, Command::New(Box::new(queue)))
            } => Response::Queue(ids) => *ids;
        /// SUB: subscribes to the messages of a queue, which come as [events](crate::smp::client::Event::Message), the first one if there is
        /// one at once. Returns the service that the queue is now associated with.
        subscribe(queue: &EntityId, key: &Key) -> Option<EntityId>:
            signed(queue, key, Command::Sub) => Response::Subscribed { service_id } => service_id;
        /// SUBS: subscribes to the messages of all queues of the session's service. Returns those that the router knows of.
        subscribe_service(service: &EntityId, queues: ServiceQueues) -> ServiceQueues:
            plain(service, Command::Subs(queues)) => Response::ServiceSubscribed(queues) => queues;
        /// KEY: sets the key of the sender, as the recipient.
        set_sender_key(queue: &EntityId, key: &Key, sender: AuthPublicKey) -> ():
            signed(queue, key, Command::Key(sender)) => Response::Done => ();
        /// RKEY: replaces the keys of the recipients of a contact queue.
        set_recipient_keys(queue: &EntityId, key: &Key, recipients: NonEmpty<AuthPublicKey>) -> ():
            signed(queue, key, Command::RKey(recipients)) => Response::Done => ();
        /// LSET: attaches data to a link to the queue, or replaces its changeable part.
        set_link(queue: &EntityId, key: &Key, link_id: EntityId, data: LinkData) -> ():
            signed(queue, key, Command::LSet { link_id, data }) => Response::Done => ();
        /// LDEL: detaches the link.
        delete_link(queue: &EntityId, key: &Key) -> ():
            signed(queue, key, Command::LDel) => Response::Done => ();
        /// NKEY: creates a notifier, or replaces it. Returns its id, and the router's half of the secret that encrypts notifications.
        create_notifier(queue: &EntityId, key: &Key, keys: NotifierKeys) -> (EntityId, x25519::PublicKey):
            signed(queue, key, Command::NKey(keys))
                => Response::Notifier { notifier_id, dh_key } => (notifier_id, dh_key);
        /// NDEL: deletes the notifier.
        delete_notifier(queue: &EntityId, key: &Key) -> ():
            signed(queue, key, Command::NDel) => Response::Done => ();
        /// NSUB: subscribes to the notifications of a queue, as its notifier, whose key this is. They come as
        /// [events](crate::smp::client::Event::Message).
        subscribe_notifier(notifier: &EntityId, key: &Key) -> Option<EntityId>:
            signed(notifier, key, Command::NSub) => Response::Subscribed { service_id } => service_id;
        /// NSUBS: subscribes to the notifications of all queues of the session's service. Returns those that the router knows of.
        subscribe_notifier_service(service: &EntityId, queues: ServiceQueues) -> ServiceQueues:
            plain(service, Command::NSubs(queues)) => Response::ServiceSubscribed(queues) => queues;
        /// GET: receives one message without a subscription, if there is one.
        get(queue: &EntityId, key: &Key) -> Option<(MsgId, Bytes)>:
            signed(queue, key, Command::Get) => Response::Message(message) => message;
        /// ACK: acknowledges a message, and receives the next one, if there is one.
        ack(queue: &EntityId, key: &Key, message: MsgId) -> Option<(MsgId, Bytes)>:
            signed(queue, key, Command::Ack(message)) => Response::Message(message) => message;
        /// OFF: suspends the queue: nothing can be sent to it any more.
        suspend(queue: &EntityId, key: &Key) -> ():
            signed(queue, key, Command::Off) => Response::Done => ();
        /// DEL: deletes the queue.
        delete(queue: &EntityId, key: &Key) -> ():
            signed(queue, key, Command::Del) => Response::Done => ();
        /// QUE: shows the state of the queue.
        queue_info(queue: &EntityId, key: &Key) -> QueueInfo:
            signed(queue, key, Command::Que) => Response::Info(info) => *info;
        /// PING: nothing, there and back.
        ping() -> ():
            plain(&EntityId::EMPTY, Command::Ping) => Response::Pong => ();
    }
}

commands! {
    impl [SmpClient, SmpRelay] {
        /// SKEY: sets the key of the sender, as the sender.
        secure(queue: &EntityId, key: &Key) -> ():
            signed(queue, key, Command::SKey(key.public_key())) => Response::Done => ();
        /// SEND: sends a message, authorised unless the queue has no sender's key yet.
        send(queue: &EntityId, key: Option<&Key>, flags: MsgFlags, body: Bytes) -> ():
            Request { key: key.cloned(), ..plain(queue, Command::Send { flags, body }) } => Response::Done => ();
        /// LKEY: sets the key of the sender, and reads the data of a link to a messaging queue. Returns the id to send to, and the data.
        secure_link(link: &EntityId, key: &Key) -> (EntityId, LinkData):
            signed(link, key, Command::LKey(key.public_key())) => Response::Link { sender_id, data } => (sender_id, data);
        /// LGET: reads the data of a link to a contact queue. Returns the id to send to, and the data.
        get_link(link: &EntityId) -> (EntityId, LinkData):
            plain(link, Command::LGet) => Response::Link { sender_id, data } => (sender_id, data);
        /// RSLV: resolves a name.
        resolve_name(domain: SimplexDomain) -> NameRecord:
            plain(&EntityId::EMPTY, Command::Rslv { domain }) => Response::Name(record) => *record;
    }
}

impl SmpClient {
    /// PRXY: asks the router, as a proxy, for a session with a relay, and checks now that it is with the relay of this address.
    ///
    /// Cancel safety: as for [`request`](Self::request).
    pub async fn relay(
        &self,
        address: &ServerAddress<SmpScheme>,
        password: Option<BasicAuth>,
        now: UnixTime,
    ) -> Result<SmpRelay, RelayError> {
        let relay = address.clone();
        let request = plain(&EntityId::EMPTY, Command::Prxy { relay, password }).within(RELAY);
        let response = self.request(request).await?;
        let tag = response.tag();
        let Response::Relay(relay) = response else {
            return Err(RequestError::Unexpected(tag).into());
        };
        let session = RelaySession::new(
            address.key_hash(),
            relay.session_id,
            relay.versions,
            &relay.chain,
            &relay.signed_key,
            &|chain: &Chain| chain.is_valid(now),
        );
        Ok(SmpRelay {
            proxy: self.clone(),
            session: Arc::new(session.map_err(RelayError::Untrusted)?),
        })
    }
}

/// A relay behind a proxy: the commands of senders go there, and neither learns what the other one knows.
///
/// A proxy may lose its session with the relay: then requests get `ERR PROXY NO_SESSION`, and [`SmpClient::relay`] makes a new one.
#[derive(Debug, Clone)]
pub struct SmpRelay {
    proxy: SmpClient,
    session: Arc<RelaySession>,
}

impl SmpRelay {
    /// PFWD: asks the relay for one thing.
    ///
    /// Cancel safety: as for [`SmpClient::request`].
    pub async fn request(&self, request: Request) -> Result<Response, RequestError> {
        let request = request.via(Arc::clone(&self.session));
        self.proxy.request(request).await
    }

    /// The session of the proxy with the relay.
    #[must_use]
    pub fn session(&self) -> &RelaySession {
        &self.session
    }
}

/// Why a relay cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The proxy has no session with it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The session is not with the relay that was asked for, or cannot be used.
    #[error("the relay cannot be trusted: {0}")]
    Untrusted(TransportError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::drive::{Capacity, Owner as _, Policy, Receiver, drive};
    use crate::rng::Rng;
    use crate::sim::identity::transports;
    use crate::sim::{Link, Settled, SmpProxy, SmpRouter, Tasks, abandon, duplex};
    use crate::smp::client::{Call, Client, Config, Event};
    use crate::smp::handshake::Peer;
    use crate::smp::router::{ProxyRequest, Ticket};
    use crate::smp::server::Server;
    use crate::smp::{BrokerMessage, ErrorType, QueueRequest, SubscriptionMode};
    use crate::time::Now;
    use crate::wire::KeyHash;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const FLAGS: MsgFlags = MsgFlags { notification: true };

    fn key(rng: &mut Rng) -> Key {
        Arc::new(AuthPrivateKey::generate(Algorithm::X25519, rng).unwrap())
    }

    fn new_queue(key: &Key, subscription: SubscriptionMode, rng: &mut Rng) -> NewQueue {
        NewQueue {
            auth_key: key.public_key(),
            dh_key: x25519::PrivateKey::generate(rng).public_key(),
            password: None,
            subscription,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        }
    }

    async fn delivered(events: &mut Receiver<Event>) -> (EntityId, MsgId) {
        loop {
            match events.next().await {
                Some(Event::Message {
                    entity_id,
                    message: BrokerMessage::Msg { id, .. },
                }) => return (entity_id, id),
                Some(_) => {}
                None => panic!("the session has ended"),
            }
        }
    }

    #[test]
    fn the_life_of_a_queue() {
        let mut net = Net::new(1);
        let (client, mut events, mut rng) = (net.client, net.events, net.tasks.rng());
        let lived = net.tasks.spawn(async move {
            let (recipient, sender, notifier) = (key(&mut rng), key(&mut rng), key(&mut rng));
            let queue = new_queue(&recipient, SubscriptionMode::OnlyCreate, &mut rng);
            let ids = client.create_queue(queue, &recipient).await?;
            let (queue, to) = (&ids.recipient_id, &ids.sender_id);
            client.secure(to, &sender).await?;
            client.send(to, Some(&sender), FLAGS, "1".into()).await?;
            client.send(to, Some(&sender), FLAGS, "2".into()).await?;
            assert_eq!(client.queue_info(queue, &recipient).await?.size, 2);

            assert_eq!(client.subscribe(queue, &recipient).await?, None);
            let (entity_id, first) = delivered(&mut events).await;
            assert_eq!(entity_id, *queue);
            let (second, _) = client.ack(queue, &recipient, first).await?.unwrap();
            assert_eq!(client.ack(queue, &recipient, second).await?, None);

            let keys = NotifierKeys {
                auth_key: notifier.public_key(),
                dh_key: x25519::PrivateKey::generate(&mut rng).public_key(),
            };
            let (id, _) = client.create_notifier(queue, &recipient, keys).await?;
            assert_eq!(client.subscribe_notifier(&id, &notifier).await?, None);
            client.delete_notifier(queue, &recipient).await?;
            client.suspend(queue, &recipient).await?;
            let refused = client.send(to, Some(&sender), FLAGS, "3".into()).await;
            assert_eq!(refused, Err(RequestError::Protocol(ErrorType::Auth)));
            client.delete(queue, &recipient).await?;

            let queue = new_queue(&recipient, SubscriptionMode::OnlyCreate, &mut rng);
            let queue = client.create_queue(queue, &recipient).await?.recipient_id;
            assert_eq!(client.get(&queue, &recipient).await?, None);
            client.ping().await
        });
        assert_eq!(net.tasks.run(100_000), Settled::Idle);
        assert_eq!(lived.take(), Some(Ok(())));
    }

    /// Abandons a command after some polls, for a queue that does not exist.
    macro_rules! abandoned {
        ($polls:expr, $client:ident: $($name:ident($($argument:expr),*)),+ $(,)?) => {
            $(
                drop(abandon($polls, $client.$name($($argument),*)).await);
                assert_eq!($client.ping().await, Ok(()), stringify!($name));
            )+
        };
    }

    #[test]
    fn a_command_that_is_abandoned_anywhere_leaves_the_session_as_it_is() {
        for polls in 0..4 {
            let mut net = Net::new(2);
            let (client, mut rng) = (net.client.clone(), net.tasks.rng());
            let next = net.tasks.spawn(async move {
                let (key, id) = (&key(&mut rng), &EntityId::from([1; 24]));
                let mut queue = || new_queue(key, SubscriptionMode::OnlyCreate, &mut rng);
                let data = LinkData {
                    fixed: Bytes::from("fixed").try_into().unwrap(),
                    user: Bytes::from("user").try_into().unwrap(),
                };
                let keys = NotifierKeys {
                    auth_key: key.public_key(),
                    dh_key: queue().dh_key,
                };
                abandoned! { polls, client:
                    create_queue(queue(), key),
                    create_queue_as(CorrId::from([1; 24]), queue(), key),
                    subscribe(id, key),
                    subscribe_service(id, ServiceQueues::default()),
                    set_sender_key(id, key, key.public_key()),
                    set_recipient_keys(id, key, vec![key.public_key()].try_into().unwrap()),
                    set_link(id, key, id.clone(), data),
                    delete_link(id, key),
                    create_notifier(id, key, keys),
                    delete_notifier(id, key),
                    subscribe_notifier(id, key),
                    subscribe_notifier_service(id, ServiceQueues::default()),
                    get(id, key),
                    ack(id, key, id.clone()),
                    suspend(id, key),
                    delete(id, key),
                    queue_info(id, key),
                    ping(),
                    secure(id, key),
                    send(id, Some(key), FLAGS, "?".into()),
                    secure_link(id, key),
                    get_link(id),
                    resolve_name("name.simplex".parse().unwrap()),
                }
            });
            assert_eq!(net.tasks.run(100_000), Settled::Idle);
            assert_eq!(next.take(), Some(()));
        }
    }

    #[test]
    fn a_response_of_another_kind_is_an_error() {
        let (client, _events, mut session) = SmpClient::new(Capacity::default());
        let mut cx = Context::from_waker(Waker::noop());
        let mut ping = pin!(client.ping());
        assert!(ping.as_mut().poll(&mut cx).is_pending());
        let Poll::Ready(Some(Call::Send(requests))) = session.poll_command(&mut cx) else {
            panic!("nothing was asked");
        };
        session.tell(Event::Response {
            request: requests[0].id,
            result: Ok(Response::Done),
        });
        let unexpected = Err(RequestError::Unexpected("OK"));
        assert_eq!(ping.poll(&mut cx), Poll::Ready(unexpected));
    }

    #[test]
    fn a_relay_gets_what_a_proxy_forwards() {
        let mut net = Net::new(4);
        let relay = net.behind();
        let (address, mut rng) = (net.relay_address(), net.tasks.rng());
        let proxy = net.client.clone();
        let sent = net.tasks.spawn(async move {
            let (recipient, sender) = (key(&mut rng), key(&mut rng));
            let queue = new_queue(&recipient, SubscriptionMode::OnlyCreate, &mut rng);
            let ids = relay.create_queue(queue, &recipient).await.unwrap();
            let now = Now::START.unix;
            let via = proxy.relay(&address, None, now).await.unwrap();
            let (to, key) = (&ids.sender_id, Some(&sender));
            for polls in 0..4 {
                abandon(polls, proxy.relay(&address, None, now)).await;
                abandon(polls, via.secure(to, &sender)).await;
                abandon(polls, via.send(to, key, FLAGS, "?".into())).await;
            }
            via.secure(to, &sender).await.unwrap();
            via.send(to, key, FLAGS, "hello".into()).await.unwrap();
            let unknown = via.get_link(&EntityId::from([1; 24])).await;
            let unlinked = Err(RequestError::Protocol(ErrorType::Auth));
            assert_eq!(unknown, unlinked);
            relay.queue_info(&ids.recipient_id, &recipient).await
        });
        assert_eq!(net.tasks.run(100_000), Settled::Idle);
        assert!(sent.take().unwrap().unwrap().size >= 1);
    }

    #[test]
    fn a_relay_is_the_one_that_was_asked_for() {
        let mut net = Net::new(5);
        net.behind();
        let hosts = net.relay_address().hosts().to_vec();
        let other = ServerAddress::new(hosts.try_into().unwrap(), None, KeyHash::from([7; 32]));
        let proxy = net.client.clone();
        let refused = net.tasks.spawn(async move {
            let now = Now::START.unix;
            proxy.relay(&other, None, now).await.map(|_| ())
        });
        assert_eq!(net.tasks.run(100_000), Settled::Idle);
        assert!(matches!(
            refused.take(),
            Some(Err(RelayError::Untrusted(TransportError::Handshake { .. })))
        ));
    }

    struct Net {
        tasks: Tasks,
        router: SmpRouter,
        relay: SmpRouter,
        proxy: Option<Receiver<(Ticket, ProxyRequest)>>,
        client: SmpClient,
        events: Receiver<Event>,
    }

    impl Net {
        fn new(seed: u64) -> Self {
            let mut tasks = Tasks::new(seed);
            let (router, asked) = SmpRouter::new(&mut tasks.rng(), Now::START);
            let (relay, _) = SmpRouter::new(&mut tasks.rng(), Now::START);
            let (client, events) = session(&mut tasks, &router, Peer::Client);
            Self {
                tasks,
                router,
                relay,
                proxy: Some(asked),
                client,
                events,
            }
        }

        /// Puts a relay behind the router; returns a client of it.
        fn behind(&mut self) -> SmpClient {
            let (relay, mut events) = session(&mut self.tasks, &self.relay, Peer::Proxy);
            let (asked, router) = (self.proxy.take().unwrap(), self.router.clone());
            let rng = self.tasks.rng();
            self.tasks.spawn(async move {
                let Some(Event::Established(established)) = events.next().await else {
                    panic!("no session with the relay");
                };
                let proxy = SmpProxy {
                    router,
                    asked,
                    relay,
                    established,
                    rng,
                };
                proxy.run().await;
            });
            session(&mut self.tasks, &self.relay, Peer::Client).0
        }

        fn relay_address(&self) -> ServerAddress<SmpScheme> {
            let hosts = vec!["relay.example".parse().unwrap()];
            let identity = self.relay.credentials().key_hash();
            ServerAddress::new(hosts.try_into().unwrap(), None, identity)
        }
    }

    fn session(tasks: &mut Tasks, router: &SmpRouter, peer: Peer) -> (SmpClient, Receiver<Event>) {
        let mut rng = tasks.rng();
        let (of_client, of_router) = transports(router.credentials(), None, &mut rng);
        let server = Server::new(router.config(), of_router, rng.fork(), Now::START);
        let mut config = Config::new(router.credentials().key_hash());
        config.handshake.peer = peer;
        let client = Client::new(config, of_client, rng.fork(), Now::START);
        let clock = tasks.clock();
        let (near, far) = duplex(&clock, rng, &Link::WAN, 100_000);
        tasks.spawn(drive(
            server,
            far,
            clock.clone(),
            router.seat(),
            Policy::ROUTER,
        ));
        let (handle, events, mailbox) = SmpClient::new(Capacity::default());
        tasks.spawn(drive(client, near, clock, mailbox, Policy::CLIENT));
        (handle, events)
    }
}
