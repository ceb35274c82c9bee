use super::*;
use proptest::prelude::*;

/// Asks a server that refuses every request with a bad topic in it, to the end; gives the number
/// of requests.
fn run_all_requests(ledger: &mut SubscriptionTable, bad: &[usize]) -> usize {
    let mut requests = 0;
    while let Some((id, topics)) = ledger.start_next_request(Instant::now()) {
        requests += 1;
        if topics.iter().any(|topic| bad.contains(topic)) {
            ledger.reject(&AnswerSubject::Request(id), "no such topic");
        } else {
            ledger.confirm(&AnswerSubject::Request(id));
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
        let planned = all.chunks(size).map(<[usize]>::to_vec).collect();
        let mut ledger = SubscriptionTable::new(count, planned);
        let requests = run_all_requests(&mut ledger, &bad);
        prop_assert!(ledger.is_fully_answered());
        for topic in 0..count {
            let refused = matches!(ledger.states()[topic], SubscriptionState::Rejected(_));
            prop_assert_eq!(refused, bad.contains(&topic));
        }
        prop_assert_eq!(ledger.is_fully_rejected(), (0..count).all(|topic| bad.contains(&topic)));
        // Each bad topic is found by halves.
        prop_assert!(requests <= count.div_ceil(size) + bad.len() * 2 * 6);
    }
}

#[test]
fn a_request_is_resolved_once_every_topic_is_answered() {
    let mut ledger = SubscriptionTable::new(3, vec![vec![0, 1, 2]]);
    ledger.start_next_request(Instant::now());
    ledger.confirm(&AnswerSubject::Topic(0));
    ledger.reject(&AnswerSubject::Topic(1), "no");
    assert!(!ledger.is_fully_answered());
    ledger.record_data(2);
    assert!(ledger.is_fully_answered());
    assert_eq!(ledger.states()[1], SubscriptionState::Rejected("no".to_owned()));
}

#[test]
fn active_topics_are_not_retried_after_a_rejection_and_stay_active() {
    let mut ledger = SubscriptionTable::new(3, vec![vec![0, 1, 2]]);
    ledger.start_next_request(Instant::now());
    ledger.reject(&AnswerSubject::OldestRequest, "one is bad");
    ledger.confirm(&AnswerSubject::Topic(0));
    assert_eq!(ledger.start_next_request(Instant::now()).unwrap().1, [1, 2], "0 is there");
    ledger.confirm(&AnswerSubject::OldestRequest);
    ledger.plan_resubscribe(vec![vec![1]]);
    ledger.plan_resubscribe(vec![vec![1]]);
    let (id, topics) = ledger.start_next_request(Instant::now()).unwrap();
    assert_eq!(topics, [1], "though it is confirmed");
    assert_eq!(ledger.reject(&AnswerSubject::Request(id), "already subscribed"), None);
    assert_eq!(ledger.states()[1], SubscriptionState::Active);
    assert!(ledger.start_next_request(Instant::now()).is_none() && ledger.is_fully_answered());
}

#[test]
fn topics_missing_from_the_accepted_list_are_rejected() {
    let mut ledger = SubscriptionTable::new(2, vec![vec![0, 1]]);
    let (id, _) = ledger.start_next_request(Instant::now()).unwrap();
    ledger.confirm(&AnswerSubject::AcceptedTopics(Some(id), vec![1]));
    assert!(matches!(ledger.states()[0], SubscriptionState::Rejected(_)));
    assert_eq!(ledger.states()[1], SubscriptionState::Active);
}

#[test]
fn an_accepted_list_returns_only_newly_rejected_topics() {
    let mut ledger = SubscriptionTable::new(3, vec![vec![0, 1, 2]]);
    let (id, _) = ledger.start_next_request(Instant::now()).unwrap();
    ledger.record_data(2);
    assert_eq!(ledger.confirm(&AnswerSubject::AcceptedTopics(Some(id), vec![1])), [0]);
    assert_eq!(ledger.states()[2], SubscriptionState::Active, "its data is there");
    assert!(ledger.is_fully_answered() && !ledger.is_fully_rejected());
}

#[test]
fn a_rejected_topic_is_not_requested_again_and_data_reactivates_it() {
    let mut ledger = SubscriptionTable::new(2, vec![vec![0], vec![1]]);
    for _ in 0..2 {
        ledger.start_next_request(Instant::now());
    }
    ledger.reject(&AnswerSubject::Topic(0), "no");
    ledger.confirm(&AnswerSubject::Topic(1));
    ledger.plan_resubscribe(vec![vec![0, 1]]);
    assert_eq!(ledger.start_next_request(Instant::now()).unwrap().1, [1]);
    assert!(ledger.record_data(0) && !ledger.record_data(0));
    assert_eq!(ledger.states()[0], SubscriptionState::Active);
}

#[tokio::test(start_paused = true)]
async fn answers_without_an_id_match_requests_in_order_even_after_data() {
    let mut ledger = SubscriptionTable::new(3, vec![vec![0], vec![1], vec![2]]);
    for _ in 0..3 {
        ledger.start_next_request(Instant::now());
    }
    // Data comes before the answer to the request for it.
    ledger.record_data(0);
    ledger.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(ledger.states()[1], SubscriptionState::Requested, "that was of the first");
    assert_eq!(ledger.reject(&AnswerSubject::OldestRequest, "no"), Some(1));
    tokio::time::advance(ANSWER_TIMEOUT).await;
    assert!(ledger.expire_requests(Instant::now()).is_some() && ledger.is_fully_answered());
    // The answer to the third comes after all.
    ledger.plan_resubscribe(vec![vec![0]]);
    ledger.start_next_request(Instant::now());
    assert_eq!(ledger.reject(&AnswerSubject::OldestRequest, "no"), Some(2));
    assert!(!ledger.is_fully_answered(), "the last is not answered");
}

#[test]
fn a_request_answered_per_topic_matches_no_later_answer() {
    let mut ledger = SubscriptionTable::new(4, vec![vec![0, 1], vec![2, 3]]);
    ledger.start_next_request(Instant::now());
    ledger.confirm(&AnswerSubject::Topic(0));
    assert_eq!(ledger.reject(&AnswerSubject::Topic(1), "no"), Some(1));
    ledger.start_next_request(Instant::now());
    assert_eq!(ledger.reject(&AnswerSubject::OldestRequest, "one is bad"), None);
    assert_eq!(ledger.start_next_request(Instant::now()).unwrap().1, [2], "the second is halved");
    ledger.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(ledger.states()[2], SubscriptionState::Active);
}

#[test]
fn an_answer_resolves_only_one_request_for_the_same_topic() {
    let mut ledger = SubscriptionTable::new(2, vec![vec![0]]);
    ledger.start_next_request(Instant::now());
    ledger.record_data(0);
    ledger.plan_resubscribe(vec![vec![0]]);
    ledger.start_next_request(Instant::now());
    ledger.confirm(&AnswerSubject::OldestRequest);
    ledger.plan_resubscribe(vec![vec![1]]);
    ledger.start_next_request(Instant::now());
    ledger.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(ledger.states()[1], SubscriptionState::Requested, "that was to the second");
    ledger.confirm(&AnswerSubject::OldestRequest);
    assert_eq!(ledger.states()[1], SubscriptionState::Active);
}

#[test]
fn a_rejection_without_an_id_skips_topics_with_data() {
    let mut ledger = SubscriptionTable::new(2, vec![vec![0], vec![1]]);
    for _ in 0..2 {
        ledger.start_next_request(Instant::now());
    }
    ledger.record_data(0);
    assert_eq!(ledger.reject(&AnswerSubject::OldestRequest, "no"), Some(1));
    assert!(ledger.is_fully_answered());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_expires() {
    let mut ledger = SubscriptionTable::new(1, vec![vec![0]]);
    ledger.start_next_request(Instant::now());
    tokio::time::advance(ANSWER_TIMEOUT).await;
    assert!(ledger.expire_requests(Instant::now()).is_some() && ledger.is_fully_answered());
    assert_eq!(ledger.states()[0], SubscriptionState::Requested);
}
