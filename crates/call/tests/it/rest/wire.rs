//! What is sent, byte for byte, as a server that others wrote repeats it.

use base64::Engine as _;
use serde_json::{Value, json};
use sos_call::rest::{KeyPlace, Scheme};
use sos_call::{ErrorKind, Secret, Streaming};

use super::peers::echo;
use super::{Asked, client, described, market};

const COLORS: [&str; 3] = ["blue", "black", "brown"];

fn rgb() -> Value {
    json!({"b": 150, "g": 200, "r": 100})
}

fn all() -> Value {
    json!({"one": "blue", "list": COLORS, "map": rgb()})
}

/// Expected: the table of styles of OpenAPI 3.1.1 §4.8.12.6; where it has no entry, RFC 6570.
#[tokio::test]
async fn parameters_are_sent_as_the_table_of_styles_says() {
    let Some(server) = echo() else { return };
    let client = client(&["styles-3.0.yaml"]);
    let asked = Asked::new(&client, server.port, "/v1/");
    for (operation, input, target) in [
        ("simple", all(), "/simple/blue/blue,black,brown/b,150,g,200,r,100"),
        ("simpleExploded", all(), "/simple-exploded/blue/blue,black,brown/b=150,g=200,r=100"),
        ("label", all(), "/label/.blue/.blue,black,brown/.b,150,g,200,r,100"),
        ("labelExploded", all(), "/label-exploded/.blue/.blue.black.brown/.b=150.g=200.r=100"),
        ("matrix", all(), "/matrix/;one=blue/;list=blue,black,brown/;map=b,150,g,200,r,100"),
        (
            "matrixExploded",
            all(),
            "/matrix-exploded/;one=blue/;list=blue;list=black;list=brown/;b=150;g=200;r=100",
        ),
        ("form", all(), "/form?one=blue&list=blue,black,brown&map=b,150,g,200,r,100"),
        ("formExploded", all(), "/formExploded?one=blue&list=blue&list=black&list=brown&b=150&g=200&r=100"),
        ("spaceDelimited", json!({"list": COLORS}), "/spaceDelimited?list=blue%20black%20brown"),
        ("pipeDelimited", json!({"list": COLORS}), "/pipeDelimited?list=blue%7Cblack%7Cbrown"),
        ("deepObject", json!({"map": rgb()}), "/deepObject?map%5Bb%5D=150&map%5Bg%5D=200&map%5Br%5D=100"),
        (
            "reserved",
            json!({"path": "/a b?c&#", "plain": "/a b?c"}),
            "/reserved?path=/a%20b?c%26%23&plain=%2Fa%20b%3Fc",
        ),
        ("content", json!({"filter": {"r": 1}}), "/content?filter=%7B%22r%22%3A1%7D"),
        ("formExploded", json!({"one": "ä/ü"}), "/formExploded?one=%C3%A4%2F%C3%BC"),
        ("formExploded", json!({}), "/formExploded"),
        ("sameNames", json!({"path.id": 2, "query.id": true, "page": "x"}), "/places/2?page=x&id=true"),
    ] {
        let answer =
            asked.call(operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"));
        assert_eq!(answer.output["target"], format!("/v1{target}"), "{operation}");
    }
}

#[tokio::test]
async fn headers_and_cookies_are_sent_as_the_table_of_styles_says() {
    let Some(server) = echo() else { return };
    let client = client(&["styles-3.0.yaml"]);
    let mut asked = Asked::new(&client, server.port, "");
    let input = json!({"X-One": 7, "X-List": COLORS, "X-Map": rgb(), "X-Map-Exploded": rgb()});
    let sent = asked.call("headers", input).await.unwrap().output["headers"].clone();
    assert_eq!(sent["x-one"], "7");
    assert_eq!(sent["x-list"], "blue,black,brown");
    assert_eq!(sent["x-map"], "b,150,g,200,r,100");
    assert_eq!(sent["x-map-exploded"], "b=150,g=200,r=100");
    assert_eq!(sent["accept"], "application/json");
    asked.headers.push(("Cookie".into(), Secret::new("session=s3cret")));
    let sent = asked.call("cookies", json!({"one": "a b", "list": ["x", "y"]})).await.unwrap();
    assert_eq!(sent.output["headers"]["cookie"], "one=a%20b; list=x,y; session=s3cret");
}

#[tokio::test]
async fn credentials_of_the_caller_and_of_the_address_are_sent() {
    let Some(server) = echo() else { return };
    let client = client(&["styles-3.0.yaml"]);
    let mut asked = Asked::new(&client, server.port, "/v1?fixed=1");
    asked.query.push(("api key".into(), Secret::new("s&cret")));
    asked.headers.push(("X-Key".into(), Secret::new("abc")));
    let sent = asked.call("form", json!({"one": "x"})).await.unwrap().output;
    assert_eq!(sent["target"], "/v1/form?fixed=1&one=x&api%20key=s%26cret");
    assert_eq!(sent["headers"]["x-key"], "abc");
    let base = format!("http://ops:pass@127.0.0.1:{}/", server.port);
    asked.endpoint = sos_call::Address::parse(&base).unwrap();
    let sent = asked.call("form", json!({})).await.unwrap().output;
    assert_eq!(sent["headers"]["authorization"], "Basic b3BzOnBhc3M=");
    asked.headers.push(("Authorization".into(), Secret::new("Bearer t")));
    let sent = asked.call("form", json!({})).await.unwrap().output;
    assert_eq!(sent["headers"]["authorization"], "Bearer t");
    asked.headers.push(("Transfer-Encoding".into(), Secret::new("chunked")));
    assert_eq!(asked.call("form", json!({})).await.unwrap_err().kind, ErrorKind::NoCredentials);
}

#[tokio::test]
async fn lists_of_swagger_2_are_sent_in_their_formats() {
    let Some(server) = echo() else { return };
    let client = client(&["grid-2.0.yaml"]);
    let asked = Asked::new(&client, server.port, "/v1");
    let ab = ["a", "b c"];
    let input =
        json!({"ids": [1, 2], "comma": ab, "space": ab, "tab": ab, "pipe": ab, "many": ab, "X-Ids": [1, 2]});
    // The answer is a list in the description and an object here: what was sent is told all the same.
    let error = asked.call("getLines", input).await.unwrap_err();
    assert_eq!((error.kind, error.place.as_str()), (ErrorKind::BadAnswer, "/body"));
    let open = described(
        &std::fs::read_to_string(super::cases().join("grid-2.0.yaml"))
            .unwrap()
            .replace("type: array, items: {$ref: '#/definitions/Line'}", "type: object"),
    );
    let asked = Asked::new(&open, server.port, "/v1");
    let input =
        json!({"ids": [1, 2], "comma": ab, "space": ab, "tab": ab, "pipe": ab, "many": ab, "X-Ids": [1, 2]});
    let sent = asked.call("getLines", input).await.unwrap().output;
    assert_eq!(
        sent["target"],
        "/v1/lines/1,2?comma=a,b%20c&space=a%20b%20c&tab=a%09b%20c&pipe=a%7Cb%20c&many=a&many=b%20c"
    );
    assert_eq!(sent["headers"]["x-ids"], "1|2");
    let input = json!({"body": {"name": "x", "kinds": ["ac", "dc"], "levels": [1, 2]}});
    let sent = asked.call("searchLines", input).await.unwrap().output;
    assert_eq!(text(&sent), "kinds=ac&kinds=dc&levels=1%7C2&name=x");
    assert_eq!(sent["headers"]["content-type"], "application/x-www-form-urlencoded");
}

/// The body that was sent.
fn bytes(sent: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(sent["body"].as_str().unwrap()).unwrap()
}

fn text(sent: &Value) -> String {
    String::from_utf8(bytes(sent)).unwrap()
}

const ANY: &str = "
openapi: 3.1.0
info: {title: Any, version: '1'}
paths:
  /any:
    post:
      operationId: any
      requestBody:
        content:
          text/plain: {}
          application/vnd.x+json: {schema: {type: object}}
          application/octet-stream: {}
          application/xml: {schema: {type: object}}
          application/x-ndjson: {schema: {type: object}}
          image/*: {}
          multipart/form-data:
            schema:
              type: object
              properties:
                photo: {contentMediaType: image/png}
                list: {type: array, items: {type: integer}}
                place: {type: object}
            encoding: {place: {contentType: application/vnd.place+json}}
      responses: {'200': {description: it, content: {application/json: {}, text/plain: {}}}}
";

#[tokio::test]
async fn bodies_are_sent_by_the_media_type_that_the_input_chooses() {
    let Some(server) = echo() else { return };
    let client = described(ANY);
    let asked = Asked::new(&client, server.port, "");
    for (media, body, expected) in [
        (None, json!({"a": 1}), "{\"a\":1}"),
        (Some("text/plain"), json!("ä"), "ä"),
        (Some("application/xml"), json!("<a/>"), "<a/>"),
        (Some("application/x-ndjson"), json!([{}, {"b": 1}]), "{}\n{\"b\":1}\n"),
        (Some("image/png"), json!({"base64": "aGk="}), "hi"),
        (Some("application/octet-stream"), json!({"base64": "aGk="}), "hi"),
    ] {
        let mut input = json!({"body": body});
        if let Some(media) = media {
            input["Content-Type"] = media.into();
        }
        let sent = asked.call("any", input).await.unwrap().output;
        assert_eq!(text(&sent), expected, "{media:?}");
        assert_eq!(sent["headers"]["content-type"], media.unwrap_or("application/vnd.x+json"));
        assert_eq!(sent["headers"]["content-length"], expected.len().to_string());
    }
    let sent = asked.call("any", json!({"Accept": "text/plain"})).await.unwrap().output;
    assert_eq!((sent["headers"]["accept"].as_str(), text(&sent)), (Some("text/plain"), String::new()));
    assert!(sent["headers"].get("content-type").is_none());
}

#[tokio::test]
async fn forms_in_parts_carry_files_lists_and_json() {
    let Some(server) = echo() else { return };
    let client = described(ANY);
    let asked = Asked::new(&client, server.port, "");
    let file = json!({"$file": {"name": "a.png", "contentType": "image/png", "base64": "AP8="}});
    let body = json!({"photo": file, "list": [1, 2], "place": {"floor": 3}});
    let sent =
        asked.call("any", json!({"Content-Type": "multipart/form-data", "body": body})).await.unwrap().output;
    let media = sent["headers"]["content-type"].as_str().unwrap();
    let boundary = media.strip_prefix("multipart/form-data; boundary=").unwrap();
    let body = String::from_utf8_lossy(&bytes(&sent)).replace(boundary, "B");
    let expected = "--B\r\nContent-Disposition: form-data; name=\"list\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n1\r\n\
        --B\r\nContent-Disposition: form-data; name=\"list\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n2\r\n\
        --B\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\0\u{fffd}\r\n\
        --B\r\nContent-Disposition: form-data; name=\"place\"\r\nContent-Type: application/vnd.place+json\r\n\r\n{\"floor\":3}\r\n--B--\r\n";
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_sent_with_all_its_places() {
    // Nobody listens there: a refusal can only come from here.
    let port = crate::support::closed_port();
    let styles = client(&["styles-3.0.yaml"]);
    let bodies = client(&["bodies-3.1.yaml"]);
    let any = described(ANY);
    for (client, operation, input, parts) in [
        (&styles, "nothing", json!({}), &["no such operation; known are ", "simple"][..]),
        (
            &styles,
            "simple",
            json!({"one": "x"}),
            &["\"list\" is a required property", "\"map\" is a required"],
        ),
        (
            &styles,
            "simple",
            json!({"one": 1, "list": [], "map": {"X": 1}}),
            &["/one", "/list", "/map", "'X'"],
        ),
        (&styles, "form", json!({"two": 1}), &["'two' was unexpected"]),
        (&styles, "form", json!([]), &["the list is not of type \"object\""]),
        (&styles, "sameNames", json!({"id": 2, "query.id": true}), &["path.id", "'id' was unexpected"]),
        (&styles, "sameNames", json!({"path.id": 1, "query.id": true}), &["/path.id", "1"]),
        (&styles, "simple", json!({"one": "..", "list": ["a"], "map": {"r": 1}}), &["`.` and `..`", "/"]),
        (&styles, "simple", json!({"one": "", "list": ["a"], "map": {"r": 1}}), &["/one", "cannot be empty"]),
        (
            &styles,
            "headers",
            json!({"X-One": 1, "X-List": ["a\r\nb: c"]}),
            &["/X-List", "no header can carry"],
        ),
        (&bodies, "addMeter", json!({}), &["\"body\" is a required property"]),
        (
            &bodies,
            "addMeter",
            json!({"body": {"name": "A", "limits": {"max": 0}, "parent": {"name": 1}, "tags": ["a", "b"]}}),
            &["/body/name", "/body/limits/max", "/body/parent", "/body/tags/1"],
        ),
        (&bodies, "addNote", json!({"body": "x"}), &["/body", "not of type \"object\""]),
        (&bodies, "addNote", json!({"Content-Type": "image/png", "body": "x"}), &["/Content-Type"]),
        (&bodies, "addNote", json!({"Content-Type": "application/octet-stream", "body": "x"}), &["/body"]),
        (
            &bodies,
            "putPhoto",
            json!({"id": 1, "body": {"photo": {"$file": {"name": "x"}}}}),
            &["/body/photo"],
        ),
        (
            &any,
            "any",
            json!({"Content-Type": "text/html", "body": "x"}),
            &["/Content-Type", "expected one of"],
        ),
    ] {
        let error = Asked::new(client, port, "").call(operation, input.clone()).await.unwrap_err();
        assert_eq!(
            (error.kind, error.operation.as_str()),
            (ErrorKind::BadInput, operation),
            "{input} {error}"
        );
        let told = error.to_string();
        assert!(parts.iter().all(|part| told.contains(part)), "{input}: {told}");
    }
    let error = Asked::new(&styles, port, "").call("form", json!({})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_contract_says_what_can_be_asked_and_where() {
    let market = market();
    let contract = market.contract();
    assert_eq!((contract.title.as_str(), contract.version.as_str()), ("Market", "1.2.0"));
    assert_eq!(market.servers(), ["https://eu.market.example.org/api"]);
    let find = contract.operation("findOffers").unwrap();
    assert_eq!((find.path.as_str(), find.summary.as_str()), ("GET /offers", "Finds offers."));
    assert!(find.deprecated && find.repeatable && find.streaming == Streaming::None);
    assert_eq!(find.output["items"], json!({"$ref": "#/$defs/Offer"}));
    assert_eq!(find.output["$defs"]["Window"]["properties"]["to"]["type"], json!(["string", "null"]));
    assert!(contract.operation("getOffersById").is_some());
    let bodies = client(&["bodies-3.1.yaml"]);
    let add = bodies.contract().operation("addMeter").unwrap();
    assert!(!add.repeatable && bodies.contract().operation("putPhoto").unwrap().repeatable);
    assert_eq!(add.input["$defs"]["Meter"]["required"], json!(["name"]));
    assert_eq!(add.output["$defs"]["Meter"]["required"], json!(["id", "name"]));
    let key = &bodies.security("addMeter")[0][0];
    assert_eq!(key.scheme, Scheme::Key { place: KeyPlace::Header, name: "X-Key".to_owned() });
    assert!(bodies.security("putPhoto")[0].is_empty() && bodies.security("nothing").is_empty());
}

#[test]
fn documents_that_belong_together_are_named_so_that_they_can_be_fetched() {
    let references = |name: &str| {
        let text = std::fs::read(super::cases().join(name)).unwrap();
        sos_call::rest::references(name, &text).unwrap()
    };
    assert_eq!(
        references("market/openapi.yaml"),
        ["market/paths/offers.json", "market/paths/common.yaml", "market/schemas.yaml"]
    );
    assert_eq!(references("market/paths/offers.json"), ["market/schemas.yaml", "market/paths/common.yaml"]);
    assert!(references("market/schemas.yaml").is_empty());
    let alone = sos_call::rest::Client::read(&super::documents(&["market/openapi.yaml"])).unwrap_err();
    assert!(alone.message.contains("`market/paths/offers.json`, and no such document was given"), "{alone}");
    assert!(alone.place.contains("line 8"), "{alone}");
}

#[tokio::test]
async fn an_answer_comes_whole_where_that_is_asked_for() {
    const BODY: &str = "{\"z\": 1.50,\n \"a\": 2}";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let read = std::io::Read::read(&mut stream, &mut head).unwrap_or(0);
            let status = if head[..read].starts_with(b"GET /moved") { "302 Found" } else { "200 OK" };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n{BODY}",
                BODY.len()
            );
            // Who asked may have gone.
            let _gone = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let get = |name: &str| {
        format!(
            "  /{name}: {{get: {{operationId: {name}, responses: {{'200': {{description: ok, content: {{application/json: {{schema: {{type: object}}}}}}}}}}}}}}\n"
        )
    };
    let text =
        format!("openapi: 3.1.0\ninfo: {{title: t, version: '1'}}\npaths:\n{}{}", get("here"), get("moved"));
    let client = described(&text);
    let asked = Asked::new(&client, port, "");
    let here = asked.whole("here").await.unwrap();
    assert_eq!((here.answer.output, here.bytes.as_slice()), (json!({"a": 2, "z": 1.5}), BODY.as_bytes()));
    let moved = asked.whole("moved").await.unwrap();
    assert_eq!((moved.answer.status.as_str(), moved.bytes.as_slice()), ("302", BODY.as_bytes()));
    assert_eq!(asked.call("moved", json!({})).await.unwrap_err().kind, ErrorKind::BadAnswer);
}
