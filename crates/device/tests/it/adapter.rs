use clap::Parser;
use sos_device::client::ClientError;
use sos_device::clock::ClockMode;
use sos_device::home;
use sos_device::job::{self, JobArgs};
use sos_device::protocol::{FailureCode, Token};
use sos_units::Missing;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::{Home, assets, command, home_args, minute, read, start_adapter};

#[tokio::test]
async fn a_home_is_measured_commanded_and_falls_back_to_idle() {
    let dir = tempfile::tempdir().unwrap();
    let mut home = Home::start(&home_args(dir.path())).await;
    let (_, mut client) = start_adapter().await;
    client.configure(assets(home.port, 5000)).await.unwrap();
    for asset in read(&mut client, 0).await {
        assert_eq!(asset.power_kw, None, "nothing is measured before the first interval");
        assert_eq!(asset.error.unwrap().reason, Missing::NotYet);
    }

    home.until(60).await;
    let [pv, battery, load] = read(&mut client, 60).await;
    assert_eq!((pv.power_kw, pv.available_kw, pv.error), (Some(0.0), Some(0.0), None));
    assert_eq!((battery.power_kw, battery.soc, battery.setpoint_kw), (Some(0.0), Some(0.0), None));
    assert_eq!((load.power_kw, load.taken_kwh, load.known), (Some(-1.0), Some(1.0), Some(minute(60))));

    let result = command(&mut client, "battery", Some(-2.0), 7200).await;
    assert_eq!((result.readback_kw, result.error), (Some(-2.0), None));
    let result = command(&mut client, "pv", Some(1.5), 3600).await;
    assert_eq!((result.readback_kw, result.error), (Some(1.5), None));
    home.until(120).await;
    let [pv, battery, load] = read(&mut client, 120).await;
    assert_eq!((pv.power_kw, pv.available_kw), (Some(1.5), Some(1.5)), "limited, and the limit has lapsed");
    assert_eq!((battery.power_kw, battery.setpoint_kw), (Some(-2.0), Some(-2.0)));
    assert_eq!((battery.taken_kwh, battery.soc), (Some(2.0), Some(0.2969)));
    assert_eq!((load.power_kw, load.taken_kwh), (Some(-2.0), Some(3.0)));

    home.until(240).await;
    let [pv, battery, _] = read(&mut client, 240).await;
    assert_eq!(battery.power_kw, Some(-1.0), "one of two hours, then the lease was over");
    assert_eq!(battery.setpoint_kw, None);
    assert_eq!(pv.power_kw, Some(2.0));

    let released = command(&mut client, "battery", None, 60).await;
    assert_eq!((released.readback_kw, released.error), (None, None));
    let refused = command(&mut client, "battery", Some(6.0), 60).await;
    assert!(refused.error.is_some(), "the device refuses more than it can");
    let refused = command(&mut client, "load", Some(1.0), 60).await;
    assert!(refused.error.unwrap().message.contains("cannot be commanded"));
    let unknown = command(&mut client, "car", Some(1.0), 60).await;
    assert!(unknown.error.unwrap().message.contains("known are pv, battery, load"));

    let ratings = client.ratings().await.unwrap().assets;
    assert_eq!((ratings[1].capacity_kwh, ratings[1].max_charge_kw), (Some(6.4), Some(5.0)));
    assert_eq!((ratings[0].max_power_kw, ratings[0].serial.as_str()), (Some(4.0), "h1"));
    assert_eq!((ratings[1].controllable, ratings[2].controllable), (true, false));
    assert_eq!(ratings[1].models, [1, 702, 704, 713, 701]);
}

#[tokio::test]
async fn a_killed_home_lives_through_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = home_args(dir.path());
    let mut home = Home::start(&args).await;
    args.port = home.port;
    let (_, mut client) = start_adapter().await;
    client.configure(assets(home.port, 5000)).await.unwrap();
    home.until(60).await;
    assert_eq!(command(&mut client, "battery", Some(-2.0), 3600).await.error, None);
    home.kill().await;
    let [pv, battery, load] = read(&mut client, 60).await;
    for asset in [pv, battery, load] {
        assert_eq!(asset.error.unwrap().reason, Missing::Unavailable);
    }

    let mut home = Home::start(&args).await;
    home.until(180).await;
    let [_, battery, load] = read(&mut client, 180).await;
    assert_eq!(
        (battery.power_kw, battery.taken_kwh),
        (Some(-1.0), Some(2.0)),
        "the lease ran on for an hour"
    );
    assert_eq!(load.taken_kwh, Some(6.0));

    home.kill().await;
    let mut home = Home::start(&args).await;
    home.until(240).await;
    let [pv, battery, load] = read(&mut client, 240).await;
    assert_eq!(
        (pv.error, battery.error, load.error),
        (None, None, None),
        "a restart between two reads costs none"
    );
    assert_eq!(load.taken_kwh, Some(10.0));
}

#[tokio::test]
async fn a_corrupt_state_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let args = home_args(dir.path());
    std::fs::write(&args.state, "rubbish").unwrap();
    Home::start(&args).await.until(60).await;
    assert_eq!(std::fs::read_to_string(dir.path().join("state.corrupt")).unwrap(), "rubbish");
    std::fs::write(&args.data, "time,load_kw,solar_kw\nnow,a,b\n").unwrap();
    let error = home::bind(&args).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("line 2, column time"), "{error}");
}

#[tokio::test]
async fn a_faulty_device_costs_its_own_asset_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mut home = Home::start(&home_args(dir.path())).await;
    let (_, mut client) = start_adapter().await;
    client.configure(assets(home.port, 200)).await.unwrap();
    home.until(60).await;
    let faults = [
        ("2 rubbish", Missing::Invalid),
        ("2 nan", Missing::Invalid),
        ("2 short", Missing::Invalid),
        ("2 exception 4", Missing::Unavailable),
        ("2 never", Missing::Unavailable),
        ("2 late 2s", Missing::Unavailable),
    ];
    for (fault, reason) in faults {
        std::fs::write(dir.path().join("fault"), fault).unwrap();
        let [pv, battery, load] = read(&mut client, 60).await;
        assert_eq!((pv.error, load.error), (None, None), "{fault}");
        assert_eq!(battery.error.unwrap().reason, reason, "{fault}");
        assert_eq!((battery.power_kw, battery.soc), (None, None), "{fault}");
        let result = command(&mut client, "battery", Some(1.0), 60).await;
        assert!(result.error.is_some(), "{fault}");
        std::fs::write(dir.path().join("fault"), "").unwrap();
        client.configure(assets(home.port, 200)).await.unwrap();
        let [_, battery, _] = read(&mut client, 60).await;
        assert_eq!((battery.error, battery.power_kw), (None, Some(0.0)), "after {fault}");
    }
}

#[tokio::test]
async fn of_two_controllers_the_newer_one_commands() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::start(&home_args(dir.path())).await;
    let (address, mut client) = start_adapter().await;
    client.configure(assets(home.port, 5000)).await.unwrap();
    client.write(7, 60, Vec::new()).await.unwrap();
    let Err(ClientError::Refused { failure, .. }) = client.write(6, 60, Vec::new()).await else {
        panic!("taken")
    };
    assert_eq!(failure.code, FailureCode::StaleEpoch);
    assert!(failure.message.contains('6') && failure.message.contains('7'), "{failure}");
    client.write(7, 60, Vec::new()).await.unwrap();
    let token = Token::new("wrong");
    let mut stranger = sos_device::client::AdapterClient::new(address, token, crate::support::WAIT);
    let Err(ClientError::Refused { failure, .. }) = stranger.read(minute(0)).await else { panic!("let in") };
    assert_eq!(failure.code, FailureCode::Unauthorized);
}

#[tokio::test]
async fn wrong_lines_are_answered_and_a_too_long_one_ends_the_conversation() {
    let (address, _) = start_adapter().await;
    let mut stream = BufReader::new(TcpStream::connect(&address).await.unwrap());
    let mut line = String::new();
    for wrong in ["rubbish", "{}", r#"{"id":1,"call":{"fly":{}}}"#, "\u{0}", ""] {
        stream.write_all(format!("{wrong}\n").as_bytes()).await.unwrap();
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.contains(r#""code":"malformed""#), "{wrong}: {line}");
    }
    stream.write_all(b"{\"id\":9,\"call\":{\"ratings\":{}}}\n").await.unwrap();
    line.clear();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.contains(r#""code":"unauthorized""#) && line.contains(r#""id":9"#), "{line}");

    let mut stream = TcpStream::connect(&address).await.unwrap();
    // The adapter may close before all of it is sent.
    let _ = stream.write_all(&vec![b'x'; (1 << 20) + 100]).await;
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await;
    assert!(ended.is_err() || String::from_utf8_lossy(&rest).contains("longer than"));
}

#[tokio::test]
async fn a_scaled_home_moves_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = home_args(dir.path());
    args.clock.clock = ClockMode::Scaled;
    args.clock.site_epoch = Some(minute(0));
    args.clock.time_factor = 5000.0;
    let home = Home::start(&args).await;
    let (_, mut client) = start_adapter().await;
    client.configure(assets(home.port, 5000)).await.unwrap();
    let commanded = command(&mut client, "battery", Some(-4.0), 1800).await;
    assert_eq!((commanded.readback_kw, commanded.error), (Some(-4.0), None));
    let last = loop {
        let [_, battery, load] = read(&mut client, 0).await;
        assert!(
            load.power_kw.is_some_and(|kw| (-12.0..=-1.0).contains(&kw) && kw.fract() == 0.0),
            "{load:?}"
        );
        if battery.setpoint_kw.is_none() && battery.power_kw == Some(0.0) {
            break battery;
        }
    };
    let taken = last.taken_kwh.unwrap();
    assert!((taken - 2.0).abs() < 0.002, "half an hour at 4 kW, not {taken} kWh");
}

#[derive(Parser)]
struct JobLine {
    #[command(flatten)]
    job: JobArgs,
}

#[tokio::test]
async fn a_job_ends_when_its_declared_time_is_worked() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let state = dir.path().join("job").display().to_string();
    let (port, epoch) = (free.port().to_string(), minute(0).to_string());
    let line = ["job", "--power", "1.5kW", "--duration", "2h", "--state", &state, "--clock", "lockstep"];
    let job =
        JobLine::parse_from(line.into_iter().chain(["--clock-port", &port, "--site-epoch", &epoch])).job;
    let running = tokio::spawn(job::run(job));
    let mut clock = sos_device::client::ClockClient::new(free.to_string(), crate::support::WAIT);
    let first = loop {
        // The job may not listen yet.
        match clock.advance(minute(0)).await {
            Ok(reply) => break reply,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(
        (first.worked_seconds, first.done),
        (Some(0), false),
        "work counts from the first time that is handed"
    );
    let half = clock.advance(minute(60)).await.unwrap();
    assert_eq!((half.worked_seconds, half.done), (Some(3600), false));
    let last = clock.advance(minute(180)).await.unwrap();
    assert_eq!((last.worked_seconds, last.done), (Some(7200), true));
    running.await.unwrap().unwrap();
}
