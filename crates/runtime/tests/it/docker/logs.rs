//! The logs of containers, copied.

use super::*;

/// What was logged, the rotated files first.
fn whole(rig: &Rig, replica: &str, files: u32) -> String {
    let folder = rig.path().join("data/logs");
    let rotated = (1..=files).rev().map(|number| folder.join(format!("{replica}.log.{number}")));
    let all = rotated.chain([folder.join(format!("{replica}.log"))]);
    all.map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn whenever_sos_ends_no_line_is_lost_or_doubled() {
    let Some(mut rig) = Rig::new(&["--live-restore"]) else { return };
    let long = "x".repeat(50_000);
    fs::write(rig.path().join("long"), format!("{long}\n")).unwrap();
    let script =
        "n=0; while [ $n -lt 20000 ]; do echo line $n; n=$$((n+1)); [ $$((n % 20)) = 0 ] && sleep 0.02
        [ $$((n % 500)) = 0 ] && while [ ! -e upto/$n ]; do sleep 0.05; done
        [ $n = 8000 ] && while [ ! -e restarted ]; do sleep 0.1; done
        [ $n = 5000 ] && cat long; [ $$((n % 1000)) = 0 ] && echo error $n >&2; done
        while [ ! -e enough ]; do sleep 0.1; done; printf 'without an end'";
    let service = rig.with("chatty", script, |service, _| {
        service.logs = sos_runtime::LogRotation { max_bytes: 60_000, keep: 40 };
    });
    let mut driver = rig.driver().await;
    deploy(&driver, &service).await.unwrap();
    // What is not read in time the daemon drops with its oldest file: on a busy machine the service waits for the reader.
    fs::create_dir(rig.path().join("upto")).unwrap();
    let lines = |rig: &Rig| {
        let lines = whole(rig, "chatty-0", 40).lines().count();
        for n in (0..lines + 2500).step_by(500) {
            fs::write(rig.path().join("upto").join(n.to_string()), "").unwrap();
        }
        lines
    };
    // Ended and begun again at ten times, and once the daemon too.
    for round in 1..=10 {
        until("more is logged", async || {
            driver.observe(clock()).await.unwrap();
            (lines(&rig) > round * 1500).then_some(())
        })
        .await;
        drop(driver);
        if round == 5 {
            rig.daemon.end(Signal::SIGKILL);
            rig.daemon.launch().unwrap();
        }
        driver = rig.driver().await;
        if round == 5 {
            // While nobody reads, the daemon keeps ten files, which is less than what is still to come.
            fs::write(rig.path().join("restarted"), "").unwrap();
        }
    }
    // It ends when the daemon has read all of it: one that was restored leaves what still lies in the pipe.
    until("all lines are logged", async || {
        driver.observe(clock()).await.unwrap();
        (lines(&rig) > 20_020).then_some(())
    })
    .await;
    fs::write(rig.path().join("enough"), "").unwrap();
    let phase = exited(&driver, "chatty-0").await;
    assert!(matches!(phase, Phase::Exited { exit: Exit::Code(0), .. }), "{phase:?}");
    until("all is logged", async || {
        driver.observe(clock()).await.unwrap();
        whole(&rig, "chatty-0", 40).ends_with("without an end\n").then_some(())
    })
    .await;
    let text = whole(&rig, "chatty-0", 40);
    let numbers: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("line ")?.parse::<u32>().ok()).collect();
    assert_eq!(numbers.len(), 20_000);
    assert!(numbers.iter().enumerate().all(|(index, number)| index == *number as usize), "in order");
    assert_eq!(text.lines().filter(|line| line.starts_with("error ")).count(), 20);
    assert_eq!(text.lines().filter(|line| *line == long).count(), 1, "a long line is one line");
    assert_eq!(text.lines().count(), 20_000 + 20 + 2);
    let sources = driver.log_sources(&jiff::tz::TimeZone::UTC).await.unwrap();
    assert_eq!(sources[0].service, "chatty");
    // The next run goes on in the same log.
    deploy(&driver, &rig.shell("chatty", "echo the next run; exit 0")).await.unwrap();
    exited(&driver, "chatty-0").await;
    assert!(whole(&rig, "chatty-0", 40).ends_with("without an end\nthe next run\n"));
    driver.forget("chatty-0").await.unwrap();
    assert!(whole(&rig, "chatty-0", 40).ends_with("the next run\n"), "logs outlive the replica");
    let left: Vec<_> = fs::read_dir(rig.path().join("data/run/docker")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
