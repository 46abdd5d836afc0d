//! Against `pysunspec2` and `pymodbus`, which share nothing with this crate.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sos_device::client::ClockClient;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::peers::python;
use crate::support::{Home, WAIT, assets, command, data, home_args, minute, read, start_adapter};

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer")
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn peer(python: &Path, dir: &Path, more: &[&str]) -> (Process, u16, ClockClient) {
    let mut command = Command::new(python);
    command.arg(scripts().join("home.py")).arg("--data").arg(data(dir)).args(more).stdout(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    let output = tokio::process::ChildStdout::from_std(process.0.stdout.take().unwrap()).unwrap();
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await.unwrap();
    let (modbus, clock) = line.trim().split_once(' ').expect("the peer tells its ports");
    (process, modbus.parse().unwrap(), ClockClient::new(format!("127.0.0.1:{clock}"), WAIT))
}

#[tokio::test]
async fn a_python_home_is_read_and_commanded_as_ours() {
    let Some(python) = python() else { return };
    for (more, models) in [(&[][..], &[1, 701, 702, 704, 713][..]), (&["--legacy"], &[1, 103, 124, 802])] {
        let dir = tempfile::tempdir().unwrap();
        let (_process, port, mut clock) = peer(&python, dir.path(), more).await;
        let (_, mut client) = start_adapter().await;
        client.configure(assets(port, 10_000)).await.unwrap();
        let ratings = client.ratings().await.unwrap().assets;
        assert_eq!(ratings[1].models, models);
        assert_eq!(
            (ratings[1].capacity_kwh, ratings[1].max_discharge_kw),
            (Some(6.4), Some(5.0)),
            "{more:?}"
        );
        assert_eq!(
            (ratings[0].max_power_kw, ratings[0].manufacturer.as_str()),
            (Some(5.0), "Peer"),
            "{more:?}"
        );
        assert!(read(&mut client, 0).await.iter().all(|asset| asset.error.is_some()), "{more:?}");

        clock.advance(minute(60)).await.unwrap();
        let [pv, battery, load] = read(&mut client, 60).await;
        assert_eq!(
            (pv.power_kw, battery.power_kw, load.power_kw),
            (Some(0.0), Some(0.0), Some(-1.0)),
            "{more:?}"
        );
        let result = command(&mut client, "battery", Some(-2.0), 7200).await;
        assert_eq!((result.readback_kw, result.error), (Some(-2.0), None), "{more:?}");
        let result = command(&mut client, "pv", Some(1.5), 3600).await;
        assert_eq!((result.readback_kw, result.error), (Some(1.5), None), "{more:?}");

        clock.advance(minute(120)).await.unwrap();
        let [pv, battery, load] = read(&mut client, 120).await;
        assert_eq!(
            (pv.power_kw, battery.power_kw, load.power_kw),
            (Some(1.5), Some(-2.0), Some(-2.0)),
            "{more:?}"
        );
        assert_eq!((battery.soc, load.taken_kwh), (Some(0.297), Some(3.0)), "{more:?}");
        assert_eq!((battery.setpoint_kw, pv.setpoint_kw), (Some(-2.0), None), "{more:?}");

        let result = command(&mut client, "battery", Some(0.5), 3600).await;
        assert_eq!((result.readback_kw, result.error), (Some(0.5), None), "{more:?}");
        clock.advance(minute(240)).await.unwrap();
        let [_, battery, _] = read(&mut client, 240).await;
        // The older model counts in tens of watts.
        assert!((battery.power_kw.unwrap() - 0.25).abs() < 0.006, "one hour of two: {battery:?} {more:?}");
        assert_eq!(battery.setpoint_kw, None, "the lease is over: {more:?}");
    }
}

#[tokio::test]
async fn pysunspec2_reads_and_commands_our_home() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut home = Home::start(&home_args(dir.path())).await;
    home.until(120).await;
    let mut client = tokio::process::Command::new(python);
    client.arg(scripts().join("client.py")).args(["--port", &home.port.to_string(), "--set", "-2500", "900"]);
    let output = tokio::time::timeout(WAIT * 3, client.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let units: Value = serde_json::from_slice(&output.stdout).unwrap();
    let point = |unit: u8, model: u16, name: &str| &units[unit.to_string()][model.to_string()][name];
    let number = |unit, model, name| {
        point(unit, model, name).as_f64().unwrap_or_else(|| panic!("{unit}.{model}.{name}: {units}"))
    };

    assert_eq!(point(1, 1, "Mn"), "SOS");
    assert_eq!(point(2, 1, "SN"), "h1");
    assert_eq!((number(1, 701, "W"), number(1, 701, "TotWhInj")), (1000.0, 2000.0));
    assert_eq!((number(1, 702, "WMaxRtg"), number(1, 704, "WMaxLimPct")), (4000.0, 100.0));
    assert_eq!((number(2, 713, "WHRtg"), number(2, 713, "SoC"), number(2, 713, "SoH")), (6400.0, 0.0, 100.0));
    assert_eq!((number(3, 203, "W"), number(3, 203, "TotWhImp")), (1500.0, 3000.0));
    let control =
        ["WSetEna", "WSetMod", "WSet", "WSetRvrtTms", "WSetRvrtRem"].map(|name| number(2, 704, name));
    assert_eq!(control, [1.0, 1.0, -2500.0, 900.0, 900.0]);
    // What is not implemented is absent, by the peer's own understanding of the markers.
    for (unit, model, names) in [
        (1, 701, &["VA", "LNV", "Hz", "TmpAmb", "TotVarhInj", "ThrotPct", "A_SF", "WSetEna"][..]),
        (2, 704, &["PFWInjEna", "WMaxLimPct", "VarSet", "VarSetPct", "WRmp", "PF_SF"]),
        (2, 702, &["VAMaxRtg", "VNom", "CtrlModes", "PF_SF"]),
        (3, 203, &["A", "PhV", "Hz", "VA", "PF", "TotWhExp", "TotVAh_SF"]),
    ] {
        for name in names {
            assert!(point(unit, model, name).is_null(), "{model}.{name} is {}", point(unit, model, name));
        }
    }
    home.until(180).await;
    let (_, mut adapter) = start_adapter().await;
    adapter.configure(assets(home.port, 5000)).await.unwrap();
    let [_, battery, _] = read(&mut adapter, 180).await;
    assert_eq!(battery.power_kw, Some(-0.625), "a quarter of an hour at 2.5 kW");
}
