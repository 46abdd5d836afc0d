use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};
use sos_api::wire::{Alarms, NotificationRecord, SilenceRecord};

use crate::server::{Server, problem};

const NOW: &str = "2016-08-02T21:00:00Z";

async fn get(server: &Server, path: &str) -> Value {
    let response = server.get(path).bearer_auth("viewer-token").send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

async fn alarms(server: &Server) -> Alarms {
    serde_json::from_value(get(server, "/api/v1/alarms").await).unwrap()
}

fn operator(server: &Server, method: Method, path: &str, body: &Value) -> reqwest::RequestBuilder {
    server.ask(method, path).bearer_auth("operator-token").body(body.to_string())
}

#[tokio::test]
async fn rules_are_those_of_prometheus_with_state_and_alerts() {
    let server = Server::start().await;
    let answer = get(&server, "/api/v1/rules").await;
    assert_eq!(answer["status"], "success");
    let groups = answer["data"]["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(
        (&groups[0]["name"], &groups[0]["file"], &groups[0]["interval"], &groups[0]["lastEvaluation"]),
        (&json!("homes"), &json!("homes.yml"), &json!(30), &json!(NOW))
    );
    let rules = groups[0]["rules"].as_array().unwrap();
    assert_eq!(
        rules[0],
        json!({"name": "site:homes:count", "query": "count(home_up)", "labels": {"team": "grid"}, "health": "ok",
            "evaluationTime": 0.00025, "lastEvaluation": NOW, "type": "recording"})
    );
    let odd = "<img src=x onerror=alert(1)>";
    let summary = format!("home-4{odd} does not answer");
    assert_eq!(
        rules[1],
        json!({"state": "firing", "name": "HomeDown", "query": "home_up == 0", "duration": 90, "keepFiringFor": 300,
            "labels": {"odd": odd, "severity": "page"},
            "annotations": {"runbook_url": "/runbooks/home-down", "summary": format!("{{{{ $labels.home }}}}{odd} does not answer")},
            "alerts": [{"labels": {"alertname": "HomeDown", "home": "home-4", "odd": odd, "severity": "page"},
                "annotations": {"runbook_url": "/runbooks/home-down", "summary": summary}, "state": "firing",
                "activeAt": "2016-08-02T20:58:00Z", "value": "0e+00"}],
            "health": "ok", "evaluationTime": 0.00025, "lastEvaluation": NOW, "type": "alerting"})
    );
    assert_eq!((&rules[2]["state"], &rules[4]["health"]), (&json!("pending"), &json!("err")));
    assert!(rules[4]["lastError"].as_str().unwrap().contains("same labelset"), "{}", rules[4]);
    assert_eq!((&groups[1]["rules"][0]["state"], &groups[1]["interval"]), (&json!("inactive"), &json!(60)));

    let names = |answer: &Value| {
        let groups = answer["data"]["groups"].as_array().unwrap().clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (query, expected) in [
        ("type=record", "site:homes:count site:broken"),
        ("rule_group[]=quiet", "Never"),
        ("file[]=other.yml", ""),
        ("match[]={severity=~\"page|info\"}&rule_name[]=HomeDown", "HomeDown"),
    ] {
        assert_eq!(names(&get(&server, &format!("/api/v1/rules?{query}")).await), expected, "{query}");
    }
    let without = get(&server, "/api/v1/rules?exclude_alerts=true&rule_name[]=HomeDown").await;
    assert!(without["data"]["groups"][0]["rules"][0].get("alerts").is_none());
    let wrong = server.admin(Method::GET, "/api/v1/rules?type=alerts").send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert_eq!(wrong.json::<Value>().await.unwrap()["errorType"], "bad_data");

    let alerts = get(&server, "/api/v1/alerts").await;
    let states: Vec<_> = alerts["data"]["alerts"].as_array().unwrap().iter().map(|a| &a["state"]).collect();
    assert_eq!(states, ["firing", "pending", "firing"]);
}

#[tokio::test]
async fn alarms_say_since_when_how_bad_who_knows_and_why_nobody_is_told() {
    let server = Server::start().await;
    let Alarms { time, total, alarms: all } = alarms(&server).await;
    assert_eq!((time.as_str(), total), (NOW, 3));
    let names: Vec<_> = all.iter().map(|alarm| (alarm.name.as_str(), alarm.state.as_str())).collect();
    assert_eq!(names, [("HomeDown", "firing"), ("PoorForecast", "firing"), ("HomeDownLong", "pending")]);
    let down = &all[0];
    assert_eq!((down.severity.as_str(), down.runbook.as_deref()), ("page", Some("/runbooks/home-down")));
    assert_eq!((down.since.as_str(), down.value.as_str()), (NOW, "0"));
    assert_eq!(down.labels["plant"], "north");
    assert_eq!(all[2].labels["plant"], "north", "pending ones carry the labels of the place too");
    assert_eq!((down.fingerprint.len(), &down.muted, &down.acknowledged_by), (16, &None, &None));
    let told = &down.told.as_ref().unwrap()[0];
    assert_eq!((told.notifier.as_str(), told.state.as_str(), told.at.as_str()), ("phone", "waiting", NOW));
    let muted = all[1].muted.as_ref().unwrap();
    assert!(muted.by == "inhibition" && muted.what.contains("HomeDown"), "{muted:?}");
    assert_eq!(all[1].told, Some(Vec::new()));

    assert_eq!(get(&server, "/api/v1/alarms?state=pending").await["total"], 1);
    let one = get(&server, "/api/v1/alarms?limit=1").await;
    assert_eq!((one["total"].as_u64(), one["alarms"].as_array().unwrap().len()), (Some(3), 1));
    for (query, part) in
        [("state=resolved", "firing or pending"), ("limit=0", "1 to 10000"), ("x=1", "`state`")]
    {
        let response = server.admin(Method::GET, &format!("/api/v1/alarms?{query}")).send().await.unwrap();
        assert!(problem(response, 400).await.detail.contains(part));
    }
    server.fake.alarming.outbox_fails.store(true, Ordering::Relaxed);
    let blind = get(&server, "/api/v1/alarms").await;
    assert!(blind["alarms"][0]["told"].is_null() && blind["total"] == 3, "alerts are shown all the same");
    let outbox = server.admin(Method::GET, "/api/v1/notifications").send().await.unwrap();
    problem(outbox, 503).await;
}

#[tokio::test]
async fn an_alarm_is_acknowledged_by_an_operator_and_the_record_says_so() {
    let server = Server::start().await;
    let known = alarms(&server).await.alarms;
    let path = |id: &str| format!("/api/v1/alarms/{id}/acknowledge");
    let comment = json!({ "comment": "<b>on my way</b>" });
    let viewer = server.ask(Method::POST, &path(&known[0].fingerprint)).bearer_auth("viewer-token");
    problem(viewer.body(comment.to_string()).send().await.unwrap(), 403).await;
    for id in ["0000000000000000", &known[2].fingerprint, "%3Cscript%3E"] {
        let response = operator(&server, Method::POST, &path(id), &comment).send().await.unwrap();
        assert!(problem(response, 404).await.detail.contains("/api/v1/alarms?state=firing"), "{id}");
    }
    let long = json!({ "comment": "x".repeat(5000) });
    let response = operator(&server, Method::POST, &path(&known[0].fingerprint), &long).send().await.unwrap();
    assert!(problem(response, 400).await.detail.contains("4096"));
    assert!(server.fake.audited.lock().unwrap().is_empty());

    let done = operator(&server, Method::POST, &path(&known[0].fingerprint), &comment).send().await.unwrap();
    assert_eq!(done.status(), 204);
    assert_eq!(alarms(&server).await.alarms[0].acknowledged_by.as_deref(), Some("operator"));
    let audited = server.fake.audited.lock().unwrap();
    assert_eq!((audited.len(), audited[0].action), (1, "acknowledge"));
    assert_eq!(audited[0].target, format!("Alert/{}", known[0].fingerprint));
    assert_eq!(
        (&audited[0].detail["comment"], &audited[0].detail["labels"]["home"]),
        (&comment["comment"], &json!("home-4"))
    );
}

#[tokio::test]
async fn a_silence_is_made_shown_and_ended() {
    let server = Server::start().await;
    let body = json!({ "matchers": ["home=\"home-4\"", "alertname=\"HomeDown\""], "duration": "2h", "comment": "works" });
    let made = operator(&server, Method::POST, "/api/v1/silences", &body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: SilenceRecord = made.json().await.unwrap();
    assert_eq!((made.ends_at.as_str(), made.created_by.as_str()), ("2016-08-02T23:00:00Z", "operator"));
    assert_eq!((made.state.as_str(), made.id.len()), ("active", 36));
    let listed: Vec<SilenceRecord> = serde_json::from_value(get(&server, "/api/v1/silences").await).unwrap();
    assert_eq!(listed, std::slice::from_ref(&made));
    let muted = alarms(&server).await.alarms[0].muted.clone().unwrap();
    assert_eq!(
        (muted.by.as_str(), &muted.what, muted.until.as_deref()),
        ("silence", &made.id, Some("2016-08-02T23:00:00Z"))
    );

    let path = format!("/api/v1/silences/{}", made.id);
    let viewer = server.ask(Method::DELETE, &path).bearer_auth("viewer-token");
    problem(viewer.send().await.unwrap(), 403).await;
    let end = || operator(&server, Method::DELETE, &path, &Value::Null).send();
    assert_eq!(end().await.unwrap().status(), 204);
    assert!(problem(end().await.unwrap(), 404).await.detail.contains("/api/v1/silences lists all"));
    assert_eq!(get(&server, "/api/v1/silences").await[0]["state"], "expired");
    let audited = server.fake.audited.lock().unwrap();
    let actions: Vec<_> = audited.iter().map(|entry| (entry.action, entry.target.as_str())).collect();
    assert_eq!(actions, [("silence", "Silence/new"), ("silence-end", &*format!("Silence/{}", made.id))]);
    assert_eq!(audited[0].detail["endsAt"], "2016-08-02T23:00:00Z");
}

#[tokio::test]
async fn a_silence_without_end_or_for_everything_is_refused() {
    let server = Server::start().await;
    let whole = json!({ "matchers": ["a=\"b\""], "duration": "1h", "comment": "c" });
    let with = |name: &str, value: Value| {
        let mut body = whole.clone();
        body[name] = value;
        body
    };
    for (body, part) in [
        (json!({ "matchers": ["a=\"b\""], "comment": "c" }), "one end"),
        (with("matchers", json!(["a=~\".*\""])), "matchers"),
        (with("matchers", json!(["a!=\"b\""])), "matchers"),
        (with("matchers", json!([])), "empty"),
        (with("comment", json!("")), "who made it and why"),
        (with("duration", json!("0s")), "ends before it starts"),
        (with("startsAt", json!("2016-08-02T10:00:00Z")), "later end"),
        (with("until", json!("soon")), "unknown field"),
        (with("comment", json!("x".repeat(5000))), "4096"),
    ] {
        let response = operator(&server, Method::POST, "/api/v1/silences", &body).send().await.unwrap();
        let detail = problem(response, 400).await.detail;
        assert!(detail.contains(part), "{body}: {detail}");
    }
    assert!(server.fake.audited.lock().unwrap().is_empty());
    server.fake.audit_fails.store(true, Ordering::Relaxed);
    let response = operator(&server, Method::POST, "/api/v1/silences", &whole).send().await.unwrap();
    assert!(problem(response, 503).await.detail.contains("not carried out"));
    assert_eq!(get(&server, "/api/v1/silences").await, json!([]));
}

#[tokio::test]
async fn notifications_say_what_waits_and_why() {
    let server = Server::start().await;
    let all: Vec<NotificationRecord> =
        serde_json::from_value(get(&server, "/api/v1/notifications").await).unwrap();
    let [one] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (one.notifier.as_str(), one.reason.as_str(), one.state.as_str()),
        ("phone", "first", "waiting")
    );
    assert_eq!(
        (one.attempts, one.next_try.as_deref(), one.alert_count),
        (2, Some("2016-08-02T21:01:00Z"), 1)
    );
    assert!(one.error.as_ref().unwrap().starts_with("no answer"));
    assert_eq!((one.alerts[0].state.as_str(), one.alerts[0].labels["home"].as_str()), ("firing", "home-4"));
    let wrong = server.admin(Method::GET, "/api/v1/notifications?limit=1001").send().await.unwrap();
    assert!(problem(wrong, 400).await.detail.contains("1 to 1000"));
}

#[tokio::test]
async fn alertmanagers_clients_see_alerts_groups_and_silences() {
    let server = Server::start().await;
    let alerts = get(&server, "/api/v2/alerts").await;
    assert_eq!(alerts.as_array().unwrap().len(), 2);
    let down = &alerts[if alerts[0]["labels"]["alertname"] == "HomeDown" { 0 } else { 1 }];
    assert_eq!(down["status"], json!({ "inhibitedBy": [], "silencedBy": [], "state": "active" }));
    assert_eq!(down["receivers"], json!([{ "name": "phone" }]));
    assert_eq!((&down["startsAt"], &down["endsAt"]), (&json!(NOW), &json!("2016-08-02T21:05:00Z")));
    assert!(down["generatorURL"].as_str().unwrap().starts_with("http://127.0.0.1:7600/graph?"));
    for (query, count) in [
        ("inhibited=false", 1),
        ("active=false", 1),
        ("filter=severity%3D%22page%22", 1),
        ("filter=severity%3D%22page%22&filter=home%21%3D%22home-4%22", 0),
        ("receiver=mail", 1),
        ("receiver=ma", 0),
    ] {
        let found = get(&server, &format!("/api/v2/alerts?{query}")).await;
        assert_eq!(found.as_array().unwrap().len(), count, "{query}");
    }
    let groups = get(&server, "/api/v2/alerts/groups").await;
    let of: Vec<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|g| (&g["receiver"]["name"], &g["labels"]["alertname"]))
        .collect();
    assert_eq!(of, [(&json!("phone"), &json!("HomeDown")), (&json!("mail"), &json!("PoorForecast"))]);
    assert_eq!(get(&server, "/api/v2/receivers").await, json!([{ "name": "mail" }, { "name": "phone" }]));
    assert_eq!(get(&server, "/api/v2/status").await["versionInfo"]["version"], "0.25.0");

    let matcher = |regex| json!({ "name": "home", "value": "home-4", "isRegex": regex, "isEqual": true });
    let mut body = json!({ "matchers": [matcher(false)], "startsAt": NOW, "endsAt": "2016-08-02T22:00:00.000Z",
        "createdBy": "ann", "comment": "works" });
    let post = |body: &Value| operator(&server, Method::POST, "/api/v2/silences", body).send();
    let made: Value = post(&body).await.unwrap().json().await.unwrap();
    let id = made["silenceID"].as_str().unwrap().to_owned();
    let silence = get(&server, &format!("/api/v2/silence/{id}")).await;
    assert_eq!(
        (&silence["status"]["state"], &silence["createdBy"]),
        (&json!("active"), &json!("operator (ann)"))
    );
    assert_eq!(silence["matchers"], json!([matcher(false)]));
    assert_eq!(get(&server, "/api/v2/alerts?silenced=false").await, json!([]));

    body["id"] = json!(id);
    body["endsAt"] = json!("2016-08-02T23:00:00Z");
    body["matchers"] = json!([matcher(true)]);
    assert_eq!(post(&body).await.unwrap().json::<Value>().await.unwrap(), made);
    let all = get(&server, "/api/v2/silences?filter=home%3D%22home-4%22").await;
    assert_eq!((all.as_array().unwrap().len(), &all[0]["endsAt"]), (1, &json!("2016-08-02T23:00:00Z")));
    assert_eq!(all[0]["matchers"], json!([matcher(true)]));

    body["id"] = json!("00000000-0000-0000-0000-000000000000");
    assert_eq!(post(&body).await.unwrap().status(), 404);
    body["id"] = json!("");
    body["matchers"] = json!([]);
    let refused = post(&body).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.json::<String>().await.unwrap().contains("would match every alert"));
    let delete = || operator(&server, Method::DELETE, &format!("/api/v2/silence/{id}"), &Value::Null).send();
    assert_eq!(delete().await.unwrap().status(), 200);
    assert_eq!(delete().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_runbook_is_a_page_in_which_nothing_runs() {
    let server = Server::start().await;
    let page = server.get("/runbooks/home-down").bearer_auth("viewer-token").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let text = page.text().await.unwrap();
    assert!(text.contains("<h1>A home does not answer&lt;img") && text.contains("&lt;script&gt;"), "{text}");
    assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
    let none = server.admin(Method::GET, "/runbooks/%3Cscript%3E").send().await.unwrap();
    assert!(problem(none, 404).await.detail.contains("no runbook"));
    assert_eq!(server.get("/runbooks/home-down").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn logs_are_found_as_one_answer_or_line_by_line() {
    let server = Server::start().await;
    let answer =
        get(&server, "/api/v1/logs?service=adapter&level=Info&limit=2&order=asc&contains=a%26b").await;
    assert_eq!((answer["records"].as_array().unwrap().len(), &answer["truncated"]), (2, &json!(true)));
    assert_eq!(answer["scannedBytes"], 4096);
    {
        let searched = server.fake.searched.lock().unwrap();
        assert_eq!(
            (searched[0].level.as_deref(), searched[0].contains.as_deref()),
            (Some("info"), Some("a&b"))
        );
        assert!(searched[0].ascending && searched[0].limit == 2);
    }
    let lines = server.admin(Method::GET, "/api/v1/logs").header("accept", "application/x-ndjson");
    let lines = lines.send().await.unwrap();
    assert_eq!(
        (&lines.headers()["content-type"], &lines.headers()["sos-truncated"]),
        (&"application/x-ndjson".parse().unwrap(), &"true".parse().unwrap())
    );
    let text = lines.text().await.unwrap();
    assert_eq!(text.lines().count(), 100, "a line end within a message does not end the line");
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    for (query, status, part) in [
        ("service=other", 404, "known: adapter"),
        ("limit=9999", 400, "1 to 5000"),
        ("x=1", 400, "known: service"),
    ] {
        let response = server.admin(Method::GET, &format!("/api/v1/logs?{query}")).send().await.unwrap();
        assert!(problem(response, status).await.detail.contains(part), "{query}");
    }
}
