//! Following pods, also over an API server that goes away.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use sos_runtime::kubernetes::{PodEvent, PodPhase, PodTable};

use super::cluster::TestCluster;

/// The next event, which must come within a minute.
pub(crate) async fn next(events: &mut Pin<Box<impl Stream<Item = PodEvent>>>) -> PodEvent {
    tokio::time::timeout(Duration::from_secs(60), events.next())
        .await
        .expect("no event came")
        .expect("the stream ended")
}

/// Follows events until the table is as `is` says.
pub(crate) async fn follow(
    table: &mut PodTable,
    events: &mut Pin<Box<impl Stream<Item = PodEvent>>>,
    what: &str,
    mut is: impl FnMut(&PodTable) -> bool,
) {
    let until = async {
        while !is(table) {
            let event = events.next().await.expect("the stream ended");
            table.apply(event);
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(120), until).await;
    assert!(done.is_ok(), "waited in vain until {what}: {table:#?}");
}

fn pod(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, namespace: {namespace}, labels: {{ app: shop }} }}\n\
         spec: {{ containers: [{{ name: web, image: none }}] }}\n"
    )
}

const CRASHED: &str = r#"{"status":{"phase":"Running","containerStatuses":[{"name":"web","image":"none","imageID":"","ready":false,
  "restartCount":3,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off"}},
  "lastState":{"terminated":{"reason":"OOMKilled","exitCode":137,"startedAt":null,"finishedAt":"2026-01-01T00:00:00Z"}}}]}}"#;

#[tokio::test]
async fn pods_are_followed_as_they_come_change_and_go() {
    let Some(test) = TestCluster::shared() else { return };
    test.make_namespace("watched");
    test.apply(&pod("watched", "first"));
    test.apply(&pod("watched", "unlike").replace("app: shop", "app: other"));
    let cluster = test.connect().await;
    let mut events = Box::pin(cluster.watch_pods("watched", "app=shop").unwrap());
    let mut table = PodTable::default();
    assert!(!table.known);
    follow(&mut table, &mut events, "the first pod is known", |table| table.known).await;
    assert_eq!(table.pods.keys().collect::<Vec<_>>(), ["first"]);
    assert_eq!((table.pods["first"].phase, table.pods["first"].node.as_deref()), (PodPhase::Pending, None));

    test.apply(&pod("watched", "second"));
    follow(&mut table, &mut events, "there are two", |table| table.pods.len() == 2).await;
    test.kubectl(&["-n", "watched", "patch", "pod", "first", "--subresource=status", "-p", CRASHED], "");
    follow(&mut table, &mut events, "its crash is told", |table| table.pods["first"].restarts == 3).await;
    let first = &table.pods["first"];
    assert_eq!(first.stuck().map(|(_, waiting)| waiting.reason.as_str()), Some("CrashLoopBackOff"));
    assert!(first.last_end().is_some_and(|(_, end)| end.is_out_of_memory()), "{first:?}");
    test.kubectl(&["-n", "watched", "delete", "pod", "first", "--force", "--grace-period=0"], "");
    follow(&mut table, &mut events, "the first is gone", |table| !table.pods.contains_key("first")).await;
}

#[tokio::test]
async fn an_api_server_that_was_away_is_followed_again_and_what_happened_meanwhile_is_seen() {
    let Some(mut test) = TestCluster::alone() else { return };
    test.make_namespace("away");
    test.apply(&pod("away", "first"));
    let cluster = test.connect().await;
    let mut events = Box::pin(cluster.watch_pods("away", "").unwrap());
    let mut table = PodTable::default();
    follow(&mut table, &mut events, "the first pod is known", |table| table.pods.contains_key("first")).await;
    test.kill_api();
    follow(&mut table, &mut events, "the outage is told", |table| table.interrupted.is_some()).await;
    assert!(table.pods.contains_key("first"), "what was known is kept");
    let error = cluster.import("away").await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    test.start_api();
    test.apply(&pod("away", "second"));
    follow(&mut table, &mut events, "the second is seen", |table| table.pods.contains_key("second")).await;
    assert!(table.interrupted.is_none());
}
