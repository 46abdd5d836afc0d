//! Faults of all kinds, in an order that a seed decides: afterwards what is observed is what was declared.

use super::*;

/// A generator that is the same everywhere (SplitMix64), so that a seed tells a whole run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// One fault. The driver may be another one afterwards.
async fn fault(
    rig: &mut Rig,
    driver: DockerDriver,
    kind: u64,
    name: &str,
    chance: &mut Chance,
) -> DockerDriver {
    let replica = format!("{name}-0");
    let container = rig.daemon.running(&replica).pop();
    let command = |words: &[&str]| {
        if let Some(id) = &container {
            rig.daemon.docker(&[words, &[id.as_str()]].concat());
        }
    };
    match kind {
        0 => command(&["kill"]),
        1 => command(&["rm", "--force"]),
        2 => command(&["restart", "--time", "0"]),
        3 => {
            // Behind the back of the daemon.
            if let Some(pid) = state(&driver, &replica).await.and_then(|state| state.handle?.pid) {
                let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        4 => {
            drop(driver);
            return rig.driver().await;
        }
        5 => {
            rig.daemon.end(if chance.below(2) == 0 { Signal::SIGKILL } else { Signal::SIGTERM });
            let error = driver.observe(clock()).await.unwrap_err();
            assert!(matches!(error, DriverError::Daemon { .. }), "{error:?}");
            // Asked for something meanwhile, in vain.
            let _away = driver.stop(&replica, SignedDuration::from_secs(1), "roll", clock()).await;
            rig.daemon.launch().unwrap();
        }
        6 => {
            let step = ContainerStep::ALL[usize::try_from(chance.below(3)).unwrap()];
            driver.kill(&replica, clock()).await.unwrap();
            exited(&driver, &replica).await;
            drop(driver);
            let options = DockerOptions { interrupt_after: Some(step), ..rig.options() };
            let crashing = DockerDriver::new(options).unwrap();
            crashing.recover(clock()).await.unwrap();
            let _interrupted = deploy(&crashing, &rig.shell(name, SLEEP_WELL)).await;
            drop(crashing);
            return rig.driver().await;
        }
        _ => {
            drop(driver);
            let _lost = fs::remove_file(rig.path().join(format!("data/run/docker/{replica}.json")));
            return rig.driver().await;
        }
    }
    driver
}

/// What a controller does until all is as declared, and the daemon says so too.
async fn heal(rig: &Rig, driver: &DockerDriver) {
    for name in NAMES {
        let (service, replica) = (rig.shell(name, SLEEP_WELL), format!("{name}-0"));
        until("it runs as declared", async || {
            let state = state(driver, &replica).await;
            match state.as_ref().map(|state| &state.phase) {
                Some(Phase::Running) => {}
                Some(Phase::Stopping { .. }) => driver.kill(&replica, clock()).await.unwrap(),
                None | Some(Phase::Exited { .. }) => drop(deploy(driver, &service).await.unwrap()),
                Some(Phase::Starting) => {}
            }
            let running = rig.daemon.running(&replica);
            assert!(running.len() <= 1, "{replica}: {running:?}");
            // The end of what was killed may not be noticed yet, by the one or the other.
            let handle = state.and_then(|state| state.handle)?;
            (running == [handle.id]).then_some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "slow: twenty faults, some of which restart the Docker daemon"]
async fn after_twenty_faults_what_is_observed_is_what_was_declared() {
    let Some(mut rig) = Rig::new(&[]) else { return };
    let mut chance = Chance(7);
    let mut driver = rig.driver().await;
    heal(&rig, &driver).await;
    for _ in 0..20 {
        let (name, kind) = (NAMES[usize::try_from(chance.below(3)).unwrap()], chance.below(8));
        println!("fault {kind} at {name}");
        driver = fault(&mut rig, driver, kind, name, &mut chance).await;
        heal(&rig, &driver).await;
    }
    // Nothing happens any more, and nothing else is left.
    let states = driver.observe(clock()).await.unwrap();
    assert!(states.iter().all(|state| state.phase == Phase::Running), "{states:?}");
    let all = rig.daemon.lines(&["ps", "--all", "--quiet"]);
    assert_eq!((states.len(), all.len()), (NAMES.len(), NAMES.len()), "{all:?}");
}
