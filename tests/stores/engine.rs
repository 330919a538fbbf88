//! Containers on ports that stay, gone with the value.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use testcontainers::bollard::models::PortBinding;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};
use tokio::runtime::Runtime;

/// What to do where nothing starts.
pub const ADVICE: &str = "run eval \"$(scripts/test-images)\" in this shell, then the tests again";

/// The client of the engine is async, the tests are not.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads can be had")
});

/// Why no container can be made of an image. It is not asked for again, test after test: each would try to pull it.
static LACKING: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// A running container, or one that was stopped.
pub struct Container {
    inner: Option<ContainerAsync<GenericImage>>,
    address: SocketAddr,
}

impl Container {
    /// Starts one. Fails the test where it cannot be.
    #[track_caller]
    pub fn start(image: &str, port: u16, environment: &[(&str, &str)], command: &[&str]) -> Self {
        Self::start_with(image, port, environment, command, &[])
    }

    /// The same, with files in it: a path, and what is there.
    #[track_caller]
    pub fn start_with(
        image: &str,
        port: u16,
        environment: &[(&str, &str)],
        command: &[&str],
        files: &[(&str, &str)],
    ) -> Self {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        // Mapped by number: a port that the engine chooses is another one after a restart.
        let address = free_port();
        let key = format!("{port}/tcp");
        let mut request = GenericImage::new(name, tag)
            .with_exposed_port(port.tcp())
            .with_cmd(command.iter().copied())
            .with_host_config_modifier(move |host| {
                let (host_ip, host_port) = (Some(address.ip().to_string()), Some(address.port().to_string()));
                host.publish_all_ports = Some(false);
                host.port_bindings = Some([(key.clone(), Some(vec![PortBinding { host_ip, host_port }]))].into());
            });
        for (name, value) in environment {
            request = request.with_env_var(*name, *value);
        }
        for (path, text) in files {
            request = request.with_copy_to(*path, text.as_bytes().to_vec());
        }
        let before = LACKING.lock().unwrap().get(image).cloned();
        let started = before.map_or_else(|| RUNTIME.block_on(request.start()).map_err(|error| error.to_string()), Err);
        match started {
            Ok(inner) => Self { inner: Some(inner), address },
            Err(error) => {
                LACKING.lock().unwrap().insert(image.to_owned(), error.clone());
                panic!("no container can be started: {ADVICE} (image {image}: {error})");
            }
        }
    }

    /// Where its server is, once that listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn inner(&self) -> &ContainerAsync<GenericImage> {
        self.inner.as_ref().expect("it is there until it is dropped")
    }

    /// As the power goes: nothing is told to the server.
    pub fn kill(&self) {
        RUNTIME.block_on(self.inner().stop_with_timeout(Some(0))).unwrap();
    }

    /// After a kill, with what it had stored.
    pub fn restart(&self) {
        RUNTIME.block_on(self.inner().start()).unwrap();
    }

    /// Its processes stand still; connections are taken, and nobody answers.
    pub fn pause(&self) {
        RUNTIME.block_on(self.inner().pause()).unwrap();
    }

    /// After a pause.
    pub fn unpause(&self) {
        RUNTIME.block_on(self.inner().unpause()).unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _entered = RUNTIME.enter();
        // Removes it, also where the test panics.
        drop(self.inner.take());
    }
}

/// A port of the loopback interface that nobody had a moment ago. It lies outside the range from which the system gives ports to
/// connections and to those who ask for any, and is given once in this process: it is still free when a server gets to it.
pub fn free_port() -> SocketAddr {
    /// Below it, ports belong to services by convention; Linux gives 32,768 and above to connections.
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another process with these tests begins elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    (0..COUNT)
        .map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("it is below 32,768"))))
        .find(is_free)
        .expect("a test needs a port")
}
