//! E-mails to aiosmtpd.

use std::path::Path;

use sos_call::deliver::{
    Delivered, DeliveryError, DeliveryErrorKind, Email, Encryption, SmtpServer, SmtpSettings,
};
use sos_call::{Login, Secret, Trust};

use crate::support::{SHORT, WAIT, certificates, closed_port, mail_server, silent, trust};

fn settings(port: u16, encryption: Encryption, trust: Trust) -> SmtpSettings {
    SmtpSettings { host: "localhost".into(), port, encryption, trust, login: None, hello: None }
}

fn login(password: &str) -> Option<Login> {
    Some(Login { user: "ops".into(), password: Secret::new(password) })
}

async fn send(settings: SmtpSettings) -> Result<Delivered, DeliveryError> {
    let to = ["a@example.org".to_owned(), "B <b@example.org>".to_owned()];
    let email = Email {
        from: "SOS <sos@example.org>",
        to: &to,
        subject: "[FIRING:1] HomeDown – Größe",
        text: "home 1 is down\n.\nend",
        html: "<p>home 1 is down</p>",
        sent_at_ms: 1_520_879_607_789,
    };
    SmtpServer::new(settings).unwrap().send(&email, "ops/1", WAIT).await
}

fn arguments<'a>(certificates: &'a Path, tls: &'a str) -> [&'a str; 4] {
    ["--tls", tls, "--certificate", certificates.to_str().unwrap()]
}

#[tokio::test]
async fn an_email_arrives_whole_at_all_receivers() {
    let Some(server) = mail_server(&[]) else { return };
    let delivered = send(settings(server.port, Encryption::None, Trust::System)).await.unwrap();
    assert_eq!(delivered.answer, "250 taken as 1");
    send(settings(server.port, Encryption::None, Trust::System)).await.unwrap();
    let log = server.log();
    assert_eq!(log[0]["to"], serde_json::json!(["a@example.org", "b@example.org"]));
    assert_eq!((log[0]["encrypted"].as_bool(), log[0]["hello"].as_str()), (Some(false), Some("localhost")));
    let content = log[0]["content"].as_str().unwrap();
    let header = |name: &str, content: &str| {
        content.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    };
    assert!(
        content.contains("home 1 is down\r\n.\r\nend") && content.contains("<p>home 1 is down</p>"),
        "{content}"
    );
    assert_eq!(header("Date", content), "Date: Mon, 12 Mar 2018 18:33:27 +0000");
    assert!(header("Message-ID", content).ends_with("@example.org>"), "{content}");
    assert_eq!(header("Message-ID", content), header("Message-ID", log[1]["content"].as_str().unwrap()));
}

#[tokio::test]
async fn starttls_and_tls_encrypt_and_log_in() {
    let Some(folder) = certificates() else { return };
    let certificate = folder.path().join("server.pem");
    for (tls, encryption) in [
        ("starttls", Encryption::StartTls),
        ("starttls", Encryption::StartTlsIfOffered),
        ("wrapped", Encryption::Tls),
    ] {
        let more: Vec<&str> =
            arguments(&certificate, tls).into_iter().chain(["--login", "ops:hunter2"]).collect();
        let Some(server) = mail_server(&more) else { return };
        let settings = settings(server.port, encryption, trust(&folder, "authority.pem"));
        send(SmtpSettings { login: login("hunter2"), ..settings.clone() }).await.unwrap();
        assert_eq!(
            (server.log()[0]["encrypted"].as_bool(), server.log()[0]["login"].as_bool()),
            (Some(true), Some(true))
        );

        let error = send(SmtpSettings { login: login("wrong-password"), ..settings }).await.unwrap_err();
        assert_eq!(error.kind, DeliveryErrorKind::Permanent, "{error}");
        assert!(error.message.contains("535") && !error.message.contains("wrong-password"), "{error}");
    }
}

#[tokio::test]
async fn starttls_that_is_required_and_not_offered_sends_nothing() {
    let Some(server) = mail_server(&[]) else { return };
    let error = send(settings(server.port, Encryption::StartTls, Trust::System)).await.unwrap_err();
    assert_eq!(error.kind, DeliveryErrorKind::Permanent, "{error}");
    assert!(error.message.to_lowercase().contains("starttls"), "{error}");
    // With a login "if offered" requires it too, else the password would be sent for all to read.
    let careful = settings(server.port, Encryption::StartTlsIfOffered, Trust::System);
    assert!(!send(SmtpSettings { login: login("x"), ..careful.clone() }).await.unwrap_err().is_temporary());
    assert!(server.log().is_empty());
    send(careful).await.unwrap();
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_strange_certificate_gets_no_mail() {
    let Some(folder) = certificates() else { return };
    let certificate = folder.path().join("server.pem");
    for (tls, encryption) in [("starttls", Encryption::StartTls), ("wrapped", Encryption::Tls)] {
        let Some(server) = mail_server(&arguments(&certificate, tls)) else { return };
        let error = send(settings(server.port, encryption, trust(&folder, "other.pem"))).await.unwrap_err();
        assert!(error.is_temporary() && error.message.contains("certificate"), "{error}");
        assert!(server.log().is_empty());
    }
}

#[tokio::test]
async fn answers_of_the_server_decide_about_another_try() {
    for (answer, kind) in
        [("451 try later", DeliveryErrorKind::Temporary), ("550 no such user", DeliveryErrorKind::Permanent)]
    {
        let Some(server) = mail_server(&["--receiver", answer]) else { return };
        let error = send(settings(server.port, Encryption::None, Trust::System)).await.unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(error.message.contains(&answer[4..]), "{error}");
    }
}

#[tokio::test]
async fn servers_that_hang_or_are_not_there_are_temporary() {
    let Some(server) = mail_server(&["--hang"]) else { return };
    let (_listener, silent) = silent();
    for port in [server.port, silent] {
        let to = ["a@example.org".to_owned()];
        let email = Email { from: "a@b.c", to: &to, subject: "x", text: "x", html: "x", sent_at_ms: 0 };
        let server = SmtpServer::new(settings(port, Encryption::None, Trust::System)).unwrap();
        let error = server.send(&email, "ops/1", SHORT).await.unwrap_err();
        assert!(error.is_temporary(), "{error}");
    }
    let error = send(settings(closed_port(), Encryption::None, Trust::System)).await.unwrap_err();
    assert!(error.is_temporary() && error.message.contains("mail server localhost"), "{error}");
}
