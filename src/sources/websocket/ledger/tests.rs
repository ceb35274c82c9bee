use super::*;
use proptest::prelude::*;

/// Asks a server that refuses every request with a bad topic in it, to the end; gives the number
/// of requests.
fn ask_all(ledger: &mut Ledger, bad: &[usize]) -> usize {
    let mut requests = 0;
    while let Some((id, topics)) = ledger.ask(Instant::now()) {
        requests += 1;
        if topics.iter().any(|topic| bad.contains(topic)) {
            ledger.refuse(&Subject::Request(id), "no such topic");
        } else {
            ledger.confirm(&Subject::Request(id));
        }
    }
    requests
}

proptest! {
    #[test]
    fn the_bad_topics_are_found_and_all_others_confirmed(
        count in 1_usize..60,
        size in 1_usize..20,
        bad in prop::collection::vec(0_usize..60, 0..8),
    ) {
        let all: Vec<usize> = (0..count).collect();
        let planned = all.chunks(size).map(<[usize]>::to_vec).collect();
        let mut ledger = Ledger::new(count, planned);
        let requests = ask_all(&mut ledger, &bad);
        prop_assert!(ledger.is_settled());
        for topic in 0..count {
            let refused = matches!(ledger.standing()[topic], Standing::Refused(_));
            prop_assert_eq!(refused, bad.contains(&topic));
        }
        prop_assert_eq!(ledger.is_hopeless(), (0..count).all(|topic| bad.contains(&topic)));
        // Each bad topic is found by halves.
        prop_assert!(requests <= count.div_ceil(size) + bad.len() * 2 * 6);
    }
}

#[test]
fn answers_for_each_topic_close_the_request_when_all_are_in() {
    let mut ledger = Ledger::new(3, vec![vec![0, 1, 2]]);
    ledger.ask(Instant::now());
    ledger.confirm(&Subject::Topic(0));
    ledger.refuse(&Subject::Topic(1), "no");
    assert!(!ledger.is_settled());
    ledger.seen(2);
    assert!(ledger.is_settled());
    assert_eq!(ledger.standing()[1], Standing::Refused("no".to_owned()));
}

#[test]
fn what_is_confirmed_is_not_asked_for_by_halves_and_not_refused_when_asked_twice() {
    let mut ledger = Ledger::new(3, vec![vec![0, 1, 2]]);
    ledger.ask(Instant::now());
    ledger.refuse(&Subject::Oldest, "one is bad");
    ledger.confirm(&Subject::Topic(0));
    assert_eq!(ledger.ask(Instant::now()).unwrap().1, [1, 2], "0 is there");
    ledger.confirm(&Subject::Oldest);
    ledger.plan_again(vec![vec![1]]);
    ledger.plan_again(vec![vec![1]]);
    let (id, topics) = ledger.ask(Instant::now()).unwrap();
    assert_eq!(topics, [1], "though it is confirmed");
    assert_eq!(ledger.refuse(&Subject::Request(id), "already subscribed"), None);
    assert_eq!(ledger.standing()[1], Standing::Confirmed);
    assert!(ledger.ask(Instant::now()).is_none() && ledger.is_settled());
}

#[test]
fn a_list_of_what_was_accepted_refuses_the_others() {
    let mut ledger = Ledger::new(2, vec![vec![0, 1]]);
    let (id, _) = ledger.ask(Instant::now()).unwrap();
    ledger.confirm(&Subject::Only(Some(id), vec![1]));
    assert!(matches!(ledger.standing()[0], Standing::Refused(_)));
    assert_eq!(ledger.standing()[1], Standing::Confirmed);
}

#[test]
fn a_list_of_what_was_accepted_tells_what_is_newly_refused() {
    let mut ledger = Ledger::new(3, vec![vec![0, 1, 2]]);
    let (id, _) = ledger.ask(Instant::now()).unwrap();
    ledger.seen(2);
    assert_eq!(ledger.confirm(&Subject::Only(Some(id), vec![1])), [0]);
    assert_eq!(ledger.standing()[2], Standing::Confirmed, "its data is there");
    assert!(ledger.is_settled() && !ledger.is_hopeless());
}

#[test]
fn a_refused_topic_is_not_asked_for_again_and_its_data_says_that_it_is_not_refused() {
    let mut ledger = Ledger::new(2, vec![vec![0], vec![1]]);
    for _ in 0..2 {
        ledger.ask(Instant::now());
    }
    ledger.refuse(&Subject::Topic(0), "no");
    ledger.confirm(&Subject::Topic(1));
    ledger.plan_again(vec![vec![0, 1]]);
    assert_eq!(ledger.ask(Instant::now()).unwrap().1, [1]);
    assert!(ledger.seen(0) && !ledger.seen(0));
    assert_eq!(ledger.standing()[0], Standing::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn answers_that_do_not_say_to_what_are_taken_in_order_also_after_data() {
    let mut ledger = Ledger::new(3, vec![vec![0], vec![1], vec![2]]);
    for _ in 0..3 {
        ledger.ask(Instant::now());
    }
    // Data comes before the answer to the request for it.
    ledger.seen(0);
    ledger.confirm(&Subject::Oldest);
    assert_eq!(ledger.standing()[1], Standing::Asked, "that was of the first");
    assert_eq!(ledger.refuse(&Subject::Oldest, "no"), Some(1));
    tokio::time::advance(ANSWER_TIME).await;
    assert!(ledger.give_up(Instant::now()).is_some() && ledger.is_settled());
    // The answer to the third comes after all.
    ledger.plan_again(vec![vec![0]]);
    ledger.ask(Instant::now());
    assert_eq!(ledger.refuse(&Subject::Oldest, "no"), Some(2));
    assert!(!ledger.is_settled(), "the last is not answered");
}

#[test]
fn a_request_that_was_answered_topic_by_topic_takes_no_further_answer() {
    let mut ledger = Ledger::new(4, vec![vec![0, 1], vec![2, 3]]);
    ledger.ask(Instant::now());
    ledger.confirm(&Subject::Topic(0));
    assert_eq!(ledger.refuse(&Subject::Topic(1), "no"), Some(1));
    ledger.ask(Instant::now());
    assert_eq!(ledger.refuse(&Subject::Oldest, "one is bad"), None);
    assert_eq!(ledger.ask(Instant::now()).unwrap().1, [2], "the second is halved");
    ledger.confirm(&Subject::Oldest);
    assert_eq!(ledger.standing()[2], Standing::Confirmed);
}

#[test]
fn the_answer_to_one_request_is_none_to_another_for_the_same_topic() {
    let mut ledger = Ledger::new(2, vec![vec![0]]);
    ledger.ask(Instant::now());
    ledger.seen(0);
    ledger.plan_again(vec![vec![0]]);
    ledger.ask(Instant::now());
    ledger.confirm(&Subject::Oldest);
    ledger.plan_again(vec![vec![1]]);
    ledger.ask(Instant::now());
    ledger.confirm(&Subject::Oldest);
    assert_eq!(ledger.standing()[1], Standing::Asked, "that was to the second");
    ledger.confirm(&Subject::Oldest);
    assert_eq!(ledger.standing()[1], Standing::Confirmed);
}

#[test]
fn a_server_that_confirms_nothing_refuses_what_has_no_data() {
    let mut ledger = Ledger::new(2, vec![vec![0], vec![1]]);
    for _ in 0..2 {
        ledger.ask(Instant::now());
    }
    ledger.seen(0);
    assert_eq!(ledger.refuse(&Subject::Oldest, "no"), Some(1));
    assert!(ledger.is_settled());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_given_up() {
    let mut ledger = Ledger::new(1, vec![vec![0]]);
    ledger.ask(Instant::now());
    tokio::time::advance(ANSWER_TIME).await;
    assert!(ledger.give_up(Instant::now()).is_some() && ledger.is_settled());
    assert_eq!(ledger.standing()[0], Standing::Asked);
}
