//! What a router counts.

macro_rules! counters {
    ($($(#[$meta:meta])* $field:ident = $name:literal),* $(,)?) => {
        /// Numbers of events since the statistics began.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $( $(#[$meta])* pub $field: u64, )*
        }

        impl Counters {
            /// All counters with their names in files and on the control port.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field)),*]
            }

            /// The counter with that name.
            pub fn named_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $($name => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

counters! {
    /// Queues that were created.
    queues_created = "qCreated",
    /// Queues whose sender's key was set.
    queues_secured = "qSecured",
    /// Queues that were deleted.
    queues_deleted = "qDeletedAll",
    /// Blocks with deletions.
    queues_deleted_blocks = "qDeletedAllB",
    /// Queues that were deleted before they were secured.
    queues_deleted_new = "qDeletedNew",
    /// Queues that were deleted after they were secured.
    queues_deleted_secured = "qDeletedSecured",
    /// Queues that the operator has blocked.
    queues_blocked = "qBlocked",
    /// Subscriptions.
    subscriptions = "qSub",
    /// Blocks with subscriptions.
    subscription_blocks = "qSubAllB",
    /// Subscriptions that were not authorised.
    subscriptions_auth = "qSubAuth",
    /// Subscriptions that were there before.
    subscriptions_duplicate = "qSubDuplicate",
    /// Subscriptions beside messages that are received one by one.
    subscriptions_prohibited = "qSubProhibited",
    /// Subscriptions that another client has taken over.
    subscriptions_ended = "qSubEnd",
    /// Blocks with ends of subscriptions.
    subscription_end_blocks = "qSubEndB",
    /// Notifiers that were created.
    notifiers_created = "ntfCreated",
    /// Notifiers that were created with their queue.
    notifiers_created_new = "ntfNewCreated",
    /// Notifiers that were deleted.
    notifiers_deleted = "ntfDeleted",
    /// Blocks with deletions of notifiers.
    notifiers_deleted_blocks = "ntfDeletedB",
    /// Subscriptions to notifications.
    notifier_subscriptions = "ntfSub",
    /// Blocks with subscriptions to notifications.
    notifier_subscription_blocks = "ntfSubB",
    /// Subscriptions to notifications that were not authorised.
    notifier_subscriptions_auth = "ntfSubAuth",
    /// Subscriptions to notifications that were there before.
    notifier_subscriptions_duplicate = "ntfSubDuplicate",
    /// Messages that were sent.
    messages_sent = "msgSent",
    /// Messages that were not authorised.
    messages_sent_auth = "msgSentAuth",
    /// Messages that found their queue full.
    messages_sent_quota = "msgSentQuota",
    /// Messages that were too large.
    messages_sent_large = "msgSentLarge",
    /// Messages that found their queue blocked.
    messages_sent_blocked = "msgSentBlock",
    /// Messages that were acknowledged.
    messages_received = "msgRecv",
    /// Messages that were acknowledged without a subscription.
    messages_received_get = "msgRecvGet",
    /// Messages that were asked for one by one.
    messages_get = "msgGet",
    /// Messages that were asked for where there was none.
    messages_get_none = "msgGetNoMsg",
    /// Messages that were asked for without authorisation.
    messages_get_auth = "msgGetAuth",
    /// Messages that were asked for again.
    messages_get_duplicate = "msgGetDuplicate",
    /// Messages that were asked for beside a subscription.
    messages_get_prohibited = "msgGetProhibited",
    /// Messages that nobody has received in time.
    messages_expired = "msgExpired",
    /// Messages with a notification that were sent.
    messages_sent_notification = "msgSentNtf",
    /// Messages with a notification that were acknowledged.
    messages_received_notification = "msgRecvNtf",
    /// Notifications that were delivered.
    notifications = "msgNtfs",
    /// Blocks with notifications.
    notification_blocks = "msgNtfsB",
    /// Notifications that nobody was subscribed to.
    notifications_no_subscriber = "msgNtfNoSub",
    /// Notifications that were lost.
    notifications_lost = "msgNtfLost",
    /// Notifications that nobody has received in time.
    notifications_expired = "msgNtfExpired",
    /// Messages that were forwarded to this router.
    forwarded_received = "pMsgFwdsRecv",
    /// Names that were to be resolved.
    names_requested = "reqs",
    /// Names that were resolved.
    names_resolved = "succ",
    /// Names that do not exist.
    names_not_found = "notFound",
    /// Names whose resolver failed.
    names_failed = "resolverErrs",
    /// Names where there is no resolver.
    names_disabled = "disabled",
}
