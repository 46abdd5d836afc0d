//! Who is measured: the service itself, nginx and our gateway, each a process of its own.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sos_runtime::gateway::{Gateway, GatewayOptions, Route, Routes, Workers};

/// Bytes of an answer.
const ANSWER: usize = 1024;

/// One of those that are measured.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Processes whose CPU counts.
    processes: Vec<u32>,
}

impl Side {
    /// CPU seconds so far (`utime` and `stime` of `/proc/PID/stat`).
    pub(crate) fn cpu(&self) -> f64 {
        let ticks = |process: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()
        };
        // USER_HZ is 100 on every Linux that this runs on.
        self.processes.iter().map(ticks).sum::<f64>() / 100.0
    }
}

/// All of them, ended when dropped.
pub(crate) struct Sides {
    all: Vec<Side>,
    children: Vec<Child>,
    _folder: tempfile::TempDir,
}

impl Drop for Sides {
    fn drop(&mut self) {
        for child in &mut self.children {
            // nginx ends its workers when it is told to, not when it is killed.
            let _told = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
            let _gone = child.wait();
        }
    }
}

impl Sides {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (service, replicas) = helper(&["serve".to_owned()], 2);
        let arguments: Vec<String> =
            std::iter::once("gateway".to_owned()).chain(replicas.iter().map(ToString::to_string)).collect();
        let (gateway, addresses) = helper(&arguments, 1);
        let side = |name, address, process| Side { name, address, processes: vec![process] };
        let mut all = vec![side("direct", replicas[0], service.id())];
        let mut children = vec![service];
        if let Some((nginx, side)) = nginx(folder.path(), &replicas) {
            all.push(side);
            children.push(nginx);
        }
        if let Some(program) = std::env::var_os("SOS_BENCH_OTHER") {
            let (other, address) = other(Path::new(&program), replicas[0]);
            all.push(side("other", address, other.id()));
            children.push(other);
        }
        all.push(side("gateway", addresses[0], gateway.id()));
        children.push(gateway);
        Self { all, children, _folder: folder }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Side> {
        self.all.iter()
    }
}

/// Starts this program again; it prints where it listens.
fn helper(arguments: &[String], addresses: usize) -> (Child, Vec<SocketAddr>) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let addresses = lines.take(addresses).map(|line| line.unwrap().parse().unwrap()).collect();
    (child, addresses)
}

/// The service: two replicas in one thread each.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut replicas = vec![];
        for _ in 0..2 {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!("{}", listener.local_addr().unwrap());
            replicas.push(tokio::spawn(replica(listener)));
        }
        for replica in replicas {
            replica.await.unwrap();
        }
    });
}

async fn replica(listener: tokio::net::TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let answer = hyper::service::service_fn(answer);
            let _left = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    static BODY: [u8; ANSWER] = [b'x'; ANSWER];
    let mut response = Response::new(Full::new(Bytes::from_static(&BODY)));
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Our gateway in front of the replicas. `SOS_BENCH_WORKERS=0`: in a shared runtime of two threads instead of threads of its own.
pub(crate) fn gateway(replicas: &[String]) {
    let workers = std::env::var("SOS_BENCH_WORKERS").map_or(2, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let workers = if workers == 0 { Workers::Here } else { Workers::Threads(workers) };
        let gateway = Gateway::start(GatewayOptions { workers, ..GatewayOptions::default() }).unwrap();
        let mut route = Route::new("127.0.0.1:0".parse().unwrap());
        for (number, replica) in replicas.iter().enumerate() {
            route = route.with_replica("1", &format!("bench-{number}"), replica.parse().unwrap());
        }
        let applied = gateway.set_routes(&Routes { services: [("bench".to_owned(), route)].into() });
        println!("{}", applied["bench"].address.unwrap());
        std::future::pending::<()>().await;
    });
}

/// Another proxy: a program that takes where to listen and whom to ask.
fn other(program: &Path, replica: SocketAddr) -> (Child, SocketAddr) {
    let address = free();
    let child = Command::new(program).args([address.to_string(), replica.to_string()]).spawn().unwrap();
    until("the other proxy listens", || std::net::TcpStream::connect(address).ok());
    (child, address)
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10)); // between two looks
    }
}

fn find_nginx() -> Option<PathBuf> {
    let named = std::env::var_os("SOS_NGINX").map(PathBuf::from);
    let usual = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from);
    // Where `ensure_nginx` of scripts/lib.sh puts it.
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let taken = caches.map(|folder| folder.join("sos/tools/nginx/usr/sbin/nginx"));
    named.into_iter().chain(usual).chain(taken).find(|path| path.is_file())
}

/// nginx in front of the same replicas, with what its own guide recommends for keeping connections.
fn nginx(folder: &Path, replicas: &[SocketAddr]) -> Option<(Child, Side)> {
    let program = find_nginx()?;
    let address = free();
    let servers: String = replicas.iter().map(|replica| format!("server {replica};")).collect();
    let path = folder.display();
    let configuration = format!(
        "daemon off; worker_processes 2; pid {path}/nginx.pid; error_log {path}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  keepalive_requests 1000000000;
  upstream service {{ least_conn; {servers} keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://service; proxy_http_version 1.1;
      proxy_set_header Connection \"\"; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host; proxy_set_header Forwarded \"for=$remote_addr;host=$host;proto=$scheme\";
      proxy_set_header Via \"1.1 nginx\";
    }}
  }}
}}
"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    // `-e`: before it has read its configuration, it would write to a folder of the system.
    let mut command = Command::new(program);
    command.arg("-e").arg(folder.join("error.log")).arg("-p").arg(folder).arg("-c").arg(&file);
    let child = command.spawn().unwrap();
    let processes = until("nginx listens", || {
        let workers = children_of(child.id());
        (workers.len() == 2 && std::net::TcpStream::connect(address).is_ok()).then_some(workers)
    });
    Some((child, Side { name: "nginx", address, processes }))
}

fn children_of(process: u32) -> Vec<u32> {
    let list =
        std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().map(|child| child.parse().unwrap()).collect()
}
