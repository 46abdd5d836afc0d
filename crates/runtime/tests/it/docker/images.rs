//! Images: found, fetched, built.

use super::*;
use sos_runtime::{PullPolicy, load_configuration};

fn with_image(rig: &Rig, reference: &str, pull: PullPolicy) -> ServiceConfig {
    rig.with("a", SLEEP, |_, container| {
        container.image = ImageSource::Reference(reference.into());
        container.pull = pull;
    })
}

async fn resolve(driver: &DockerDriver, service: &ServiceConfig) -> Result<String, DriverError> {
    let config = load_configuration(service, 0, 1, None).unwrap();
    driver.resolve(&config).await.map(|metadata| metadata.version)
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn an_image_that_is_there_is_used_and_one_that_is_not_is_told_with_advice() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let built = resolve(&driver, &rig.shell("built", SLEEP)).await.unwrap();
    rig.daemon.lines(&["tag", &built, "local/here:1"]);
    for pull in [PullPolicy::Missing, PullPolicy::Never] {
        assert_eq!(resolve(&driver, &with_image(&rig, "local/here:1", pull)).await.unwrap(), built);
        deploy(&driver, &with_image(&rig, "local/here:1", pull)).await.unwrap();
        driver.kill("a-0", clock()).await.unwrap();
        exited(&driver, "a-0").await;
    }
    let error = resolve(&driver, &with_image(&rig, "local/none", PullPolicy::Never)).await.unwrap_err();
    assert!(error.to_string().contains("docker load") && error.to_string().contains("never"), "{error}");
    // A registry that refuses connections at once.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let reference = format!("127.0.0.1:{gone}/none:2");
    for pull in [PullPolicy::Missing, PullPolicy::Always] {
        let error = resolve(&driver, &with_image(&rig, &reference, pull)).await.unwrap_err();
        assert!(matches!(error, DriverError::Image { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&reference) && text.contains("registry can be reached"), "{text}");
    }
    // What was resolved is what is started, also when the name means another image by then.
    let service = with_image(&rig, "local/here:1", PullPolicy::Missing);
    let deployment = describe(&driver, &service).await;
    let other = rig.daemon.busybox("other", "ENV OTHER=1");
    rig.daemon.lines(&["build", "--quiet", "--tag", "local/here:1", &other.display().to_string()]);
    let handle = driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap();
    let image = rig.daemon.lines(&["inspect", "--format", "{{.Image}}", &handle.id]);
    assert_eq!(image, [built]);
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn a_folder_is_built_once_and_again_when_it_changes() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let service = rig.shell("a", SLEEP);
    let first = resolve(&driver, &service).await.unwrap();
    assert_eq!(resolve(&rig.driver().await, &service).await.unwrap(), first, "also after a restart");
    fs::write(rig.image.join(".dockerignore"), "unneeded\n").unwrap();
    let second = resolve(&driver, &service).await.unwrap();
    fs::write(rig.image.join("unneeded"), "x").unwrap();
    assert_eq!(resolve(&driver, &service).await.unwrap(), second, "what is ignored changes nothing");
    let file = rig.image.join("Dockerfile");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}ARG NAME=x\nENV NAME=$NAME\n")).unwrap();
    let third = resolve(&driver, &service).await.unwrap();
    assert_ne!(second, third);
    let images =
        rig.daemon.lines(&["images", "--quiet", "--no-trunc", "--filter", "label=sos.energy/service=a"]);
    assert_eq!(images, [third], "those before it are removed");
    fs::write(&file, format!("{text}RUN echo the reason && exit 3\n")).unwrap();
    let error = resolve(&driver, &service).await.unwrap_err().to_string();
    assert!(error.contains("the reason") && error.contains('3'), "{error}");
    fs::write(&file, "NONSENSE\n").unwrap();
    let error = resolve(&driver, &service).await.unwrap_err().to_string();
    assert!(error.contains("NONSENSE"), "{error}");
    // While it takes long nobody waits for it.
    fs::write(&file, format!("{text}RUN sleep 3\n")).unwrap();
    let hasty = DockerOptions { patience: Duration::from_millis(100), ..rig.options() };
    let hasty = DockerDriver::new(hasty).unwrap();
    hasty.recover(clock()).await.unwrap();
    let error = resolve(&hasty, &service).await.unwrap_err();
    assert!(matches!(error, DriverError::Preparing { .. }), "{error:?}");
    until("it is built", async || resolve(&hasty, &service).await.ok()).await;
}
