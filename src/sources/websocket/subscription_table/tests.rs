use super::*;
use proptest::prelude::*;

fn topic(index: usize) -> TopicIndex {
    TopicIndex::new(index)
}

fn topics(indexes: &[usize]) -> Vec<TopicIndex> {
    indexes.iter().copied().map(TopicIndex::new).collect()
}

/// Creates a table whose topics are to be requested in these groups.
fn table(topic_count: usize, groups: &[&[usize]]) -> SubscriptionTable {
    SubscriptionTable::new(topic_count, groups.iter().map(|group| topics(group)).collect())
}

fn start(table: &mut SubscriptionTable) -> StartedRequest {
    table.start_next_request(Instant::now()).unwrap()
}

/// Sends all requests to a server that rejects every request with a bad topic. Returns the number of
/// requests.
fn run_all_requests(table: &mut SubscriptionTable, bad: &[TopicIndex]) -> usize {
    let mut requests = 0;
    while let Some(StartedRequest { id, topics, .. }) = table.start_next_request(Instant::now()) {
        requests += 1;
        if topics.iter().any(|topic| bad.contains(topic)) {
            table.reject(&AnswerSubject::Request(id), "no such topic");
        } else {
            table.confirm(&AnswerSubject::Request(id));
        }
    }
    requests
}

proptest! {
    #[test]
    fn halving_isolates_rejected_topics_and_activates_the_rest(
        count in 1_usize..60,
        size in 1_usize..20,
        bad in prop::collection::vec(0_usize..60, 0..8),
    ) {
        let all: Vec<usize> = (0..count).collect();
        let bad = topics(&bad);
        let mut table = table(count, &all.chunks(size).collect::<Vec<_>>());
        let requests = run_all_requests(&mut table, &bad);
        prop_assert!(table.is_fully_answered());
        for topic in topics(&all) {
            prop_assert_eq!(table.states()[topic].is_rejected(), bad.contains(&topic));
        }
        let is_all_bad = topics(&all).iter().all(|topic| bad.contains(topic));
        prop_assert_eq!(table.is_fully_rejected(), is_all_bad);
        // Each bad topic is isolated by halving.
        prop_assert!(requests <= count.div_ceil(size) + bad.len() * 2 * 6);
    }
}

#[test]
fn a_request_is_resolved_once_every_topic_is_answered() {
    let mut table = table(3, &[&[0, 1, 2]]);
    table.start_next_request(Instant::now());
    table.confirm(&AnswerSubject::Topic(topic(0)));
    table.reject(&AnswerSubject::Topic(topic(1)), "no");
    assert!(!table.is_fully_answered());
    table.record_data(topic(2));
    assert!(table.is_fully_answered());
    assert_eq!(table.states()[topic(1)], SubscriptionState::Rejected("no".to_owned()));
}

#[test]
fn active_topics_are_not_retried_after_a_rejection_and_stay_active() {
    let mut table = table(3, &[&[0, 1, 2]]);
    table.start_next_request(Instant::now());
    table.reject(&AnswerSubject::OldestRequest, "one is bad");
    table.confirm(&AnswerSubject::Topic(topic(0)));
    assert_eq!(start(&mut table).topics, topics(&[1, 2]), "topic 0 is active");
    table.confirm(&AnswerSubject::OldestRequest);
    table.plan_resubscribe(vec![topics(&[1])]);
    table.plan_resubscribe(vec![topics(&[1])]);
    let StartedRequest { id, topics: requested, .. } = start(&mut table);
    assert_eq!(requested, topics(&[1]), "although it is active");
    assert_eq!(table.reject(&AnswerSubject::Request(id), "already subscribed"), None);
    assert_eq!(table.states()[topic(1)], SubscriptionState::Active);
    assert!(table.start_next_request(Instant::now()).is_none() && table.is_fully_answered());
}

#[test]
fn topics_missing_from_the_accepted_list_are_rejected() {
    let mut table = table(2, &[&[0, 1]]);
    let StartedRequest { id, .. } = start(&mut table);
    table.confirm(&AnswerSubject::AcceptedTopics { request: Some(id), topics: topics(&[1]) });
    assert!(table.states()[topic(0)].is_rejected());
    assert_eq!(table.states()[topic(1)], SubscriptionState::Active);
}

#[test]
fn an_accepted_list_returns_only_newly_rejected_topics() {
    let mut table = table(3, &[&[0, 1, 2]]);
    let StartedRequest { id, .. } = start(&mut table);
    table.record_data(topic(2));
    assert_eq!(
        table.confirm(&AnswerSubject::AcceptedTopics { request: Some(id), topics: topics(&[1]) }),
        topics(&[0])
    );
    assert_eq!(table.states()[topic(2)], SubscriptionState::Active, "its data was received");
    assert!(table.is_fully_answered() && !table.is_fully_rejected());
}

#[test]
fn a_rejected_topic_is_not_requested_again_and_data_reactivates_it() {
    let mut table = table(2, &[&[0], &[1]]);
    for _ in 0..2 {
        table.start_next_request(Instant::now());
    }
    table.reject(&AnswerSubject::Topic(topic(0)), "no");
    table.confirm(&AnswerSubject::Topic(topic(1)));
    table.plan_resubscribe(vec![topics(&[0, 1])]);
    assert_eq!(start(&mut table).topics, topics(&[1]));
    assert!(table.record_data(topic(0)) && !table.record_data(topic(0)));
    assert_eq!(table.states()[topic(0)], SubscriptionState::Active);
}

#[tokio::test(start_paused = true)]
async fn answers_without_an_id_match_requests_in_order_even_after_data() {
    let mut table = table(3, &[&[0], &[1], &[2]]);
    for _ in 0..3 {
        table.start_next_request(Instant::now());
    }
    // Data precedes the answer to its request.
    table.record_data(topic(0));
    table.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(
        table.states()[topic(1)],
        SubscriptionState::Requested,
        "the answer was for the first request"
    );
    assert_eq!(table.reject(&AnswerSubject::OldestRequest, "no"), Some(topic(1)));
    tokio::time::advance(ANSWER_TIMEOUT).await;
    assert!(table.expire_requests(Instant::now()).is_some() && table.is_fully_answered());
    // The late answer to the third request.
    table.plan_resubscribe(vec![topics(&[0])]);
    table.start_next_request(Instant::now());
    assert_eq!(table.reject(&AnswerSubject::OldestRequest, "no"), Some(topic(2)));
    assert!(!table.is_fully_answered(), "the last request is not answered");
}

#[test]
fn a_request_answered_per_topic_matches_no_later_answer() {
    let mut table = table(4, &[&[0, 1], &[2, 3]]);
    table.start_next_request(Instant::now());
    table.confirm(&AnswerSubject::Topic(topic(0)));
    assert_eq!(table.reject(&AnswerSubject::Topic(topic(1)), "no"), Some(topic(1)));
    table.start_next_request(Instant::now());
    assert_eq!(table.reject(&AnswerSubject::OldestRequest, "one is bad"), None);
    assert_eq!(start(&mut table).topics, topics(&[2]), "the second request is halved");
    table.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(table.states()[topic(2)], SubscriptionState::Active);
}

#[test]
fn an_answer_resolves_only_one_request_for_the_same_topic() {
    let mut table = table(2, &[&[0]]);
    table.start_next_request(Instant::now());
    table.record_data(topic(0));
    table.plan_resubscribe(vec![topics(&[0])]);
    table.start_next_request(Instant::now());
    table.confirm(&AnswerSubject::OldestRequest);
    table.plan_resubscribe(vec![topics(&[1])]);
    table.start_next_request(Instant::now());
    table.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(
        table.states()[topic(1)],
        SubscriptionState::Requested,
        "the answer was for the second request"
    );
    table.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(table.states()[topic(1)], SubscriptionState::Active);
}

#[test]
fn the_answer_to_the_end_of_a_subscription_confirms_no_other() {
    let mut table = table(1, &[&[0]]);
    table.start_next_request(Instant::now());
    table.confirm(&AnswerSubject::OldestRequest);
    assert!(table.remove_topic(topic(0)));
    let added = table.add_topic(None);
    table.plan(vec![topics(&[0])], RequestPurpose::Unsubscribe);
    table.plan(vec![vec![added]], RequestPurpose::Subscribe);
    assert_eq!(start(&mut table).purpose, RequestPurpose::Unsubscribe);
    assert_eq!(start(&mut table).topics, [added]);
    table.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(table.states()[added], SubscriptionState::Requested, "the answer was for the end");
    assert_eq!(table.reject(&AnswerSubject::OldestRequest, "no"), Some(added));
    assert!(table.is_fully_answered());
}

#[test]
fn the_answer_to_the_end_of_a_subscription_does_not_begin_it_again() {
    let mut table = table(1, &[&[0]]);
    table.start_next_request(Instant::now());
    table.confirm(&AnswerSubject::OldestRequest);
    assert!(table.remove_topic(topic(0)));
    table.plan(vec![topics(&[0])], RequestPurpose::Unsubscribe);
    let StartedRequest { id, .. } = start(&mut table);
    table.add_topic(Some(topic(0)));
    table.plan(vec![topics(&[0])], RequestPurpose::Subscribe);
    start(&mut table);
    table.confirm(&AnswerSubject::Request(id));
    assert_eq!(table.states()[topic(0)], SubscriptionState::Requested);
    table.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(table.states()[topic(0)], SubscriptionState::Active);
}

#[test]
fn a_rejection_without_an_id_skips_topics_with_data() {
    let mut table = table(2, &[&[0], &[1]]);
    for _ in 0..2 {
        table.start_next_request(Instant::now());
    }
    table.record_data(topic(0));
    assert_eq!(table.reject(&AnswerSubject::OldestRequest, "no"), Some(topic(1)));
    assert!(table.is_fully_answered());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_expires() {
    let mut table = table(1, &[&[0]]);
    table.start_next_request(Instant::now());
    tokio::time::advance(ANSWER_TIMEOUT).await;
    assert!(table.expire_requests(Instant::now()).is_some() && table.is_fully_answered());
    assert_eq!(table.states()[topic(0)], SubscriptionState::Requested);
}

#[test]
fn a_topic_of_which_nothing_came_is_awaited_until_it_is_heard() {
    let mut table = table(3, &[&[0, 1, 2]]);
    start(&mut table);
    table.record_data(topic(0));
    let assumed = table.expire_requests(Instant::now() + ANSWER_TIMEOUT).unwrap();
    assert_eq!(table.await_sign(&assumed), topics(&[1, 2]));
    assert_eq!(table.drain_newly_active(), topics(&[0, 1, 2]));
    assert!(table.record_data(topic(2)));
    assert_eq!(table.drain_newly_active(), topics(&[2]), "its data is news");
    assert!(table.has_unheard());
    table.confirm(&AnswerSubject::Topic(topic(1)));
    assert_eq!(table.drain_newly_active(), topics(&[1]), "a late confirmation is news");
    assert!(!table.has_unheard());
    table.record_data(topic(1));
    assert_eq!(table.drain_newly_active(), topics(&[]));
}
