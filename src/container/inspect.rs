//! What docker and podman say of a container: is it up, and where is it?

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use serde::{Deserialize, de::IgnoredAny};

use super::ContainerError;
use crate::model::ContainerRef;

/// Whether it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It does.
    Up,
    /// It is frozen: its port takes clients and answers none.
    Paused,
    /// It does not, or has died and waits to be restarted by its engine.
    Down,
}

/// Why clients cannot be led to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAddress {
    /// It exposes no port.
    NoPort,
    /// It exposes several, and nobody says which.
    SeveralPorts(Vec<u16>),
    /// It has neither an address of its own nor is the port published.
    Nowhere(u16),
}

/// The part of `container inspect` that matters; both engines have the same names for it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Inspected {
    state: StateFlags,
    config: Config,
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StateFlags {
    running: bool,
    paused: bool,
    restarting: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    /// `80/tcp` and the like.
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    /// Those of the default network, where the engine still has them here.
    #[serde(flatten)]
    default: Addresses,
    networks: Option<BTreeMap<String, Addresses>>,
    /// `80/tcp` and the like; `None` where it is not published.
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Addresses {
    #[serde(rename = "IPAddress")]
    v4: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    v6: Option<String>,
}

/// Where a port is published.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_ip: String,
    host_port: String,
}

// === impl Inspected ===

impl Inspected {
    /// Reads what `container inspect` prints of one container.
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let mut all: Vec<Self> = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err("it is not about one container".to_owned()),
        }
    }

    pub(super) fn state(&self) -> State {
        let flags = &self.state;
        match (flags.paused, flags.running && !flags.restarting) {
            (true, _) => State::Paused,
            (false, true) => State::Up,
            (false, false) => State::Down,
        }
    }

    /// Where clients are led. Only root is sure to reach a container's own address; for others the
    /// published port goes before it.
    pub(super) fn address(&self, container: &ContainerRef) -> Result<SocketAddr, ContainerError> {
        let root = nix::unistd::geteuid().is_root();
        self.address_for(container.port, root)
            .map_err(|why| ContainerError::NoAddress {
                container: container.clone(),
                why,
            })
    }

    fn address_for(&self, port: Option<u16>, root: bool) -> Result<SocketAddr, NoAddress> {
        let port = match port {
            Some(port) => port,
            None => self.only_port()?,
        };
        let own = self.own_address().map(|ip| SocketAddr::new(ip, port));
        let published = self.published(port);
        let found = if root {
            own.or(published)
        } else {
            published.or(own)
        };
        found.ok_or(NoAddress::Nowhere(port))
    }

    /// The one TCP port that it exposes.
    fn only_port(&self) -> Result<u16, NoAddress> {
        let exposed = self.config.exposed_ports.iter().flat_map(BTreeMap::keys);
        let known = self.network_settings.ports.iter().flat_map(BTreeMap::keys);
        let ports: BTreeSet<u16> = exposed.chain(known).filter_map(|key| tcp(key)).collect();
        let mut ports = ports.into_iter();
        match (ports.next(), ports.next()) {
            (None, _) => Err(NoAddress::NoPort),
            (Some(only), None) => Ok(only),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(ports).collect();
                Err(NoAddress::SeveralPorts(all))
            }
        }
    }

    /// Its own address: of the default network, else of the first by name that gave it one.
    fn own_address(&self) -> Option<IpAddr> {
        let settings = &self.network_settings;
        let networks = settings.networks.iter().flat_map(BTreeMap::values);
        std::iter::once(&settings.default)
            .chain(networks)
            .find_map(Addresses::ip)
    }

    fn published(&self, port: u16) -> Option<SocketAddr> {
        let ports = self.network_settings.ports.as_ref()?;
        let bindings = ports.get(&format!("{port}/tcp"))?.as_ref()?;
        bindings.iter().find_map(Binding::address)
    }
}

/// The number of `80/tcp`.
fn tcp(port: &str) -> Option<u16> {
    port.strip_suffix("/tcp")?.parse().ok()
}

// === impl Addresses ===

impl Addresses {
    fn ip(&self) -> Option<IpAddr> {
        let read = |text: &Option<String>| text.as_ref()?.parse().ok();
        read(&self.v4).or_else(|| read(&self.v6))
    }
}

// === impl Binding ===

impl Binding {
    /// One that is published on all addresses is on the loopback too.
    fn address(&self) -> Option<SocketAddr> {
        let port = self.host_port.parse().ok().filter(|&port| port != 0)?;
        let ip = match self.host_ip.as_str() {
            // How podman says all of them.
            "" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            text => match text.parse().ok()? {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                ip => ip,
            },
        };
        Some(SocketAddr::new(ip, port))
    }
}

// === impl NoAddress ===

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort => f.write_str(
                "it exposes no TCP port; write the port behind its name (CONTAINER=NAME:PORT), or \
                 TARGET=",
            ),
            Self::SeveralPorts(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(
                    f,
                    "it exposes several TCP ports ({}); write one behind its name \
                     (CONTAINER=NAME:PORT), or TARGET=",
                    ports.join(", ")
                )
            }
            Self::Nowhere(port) => write!(
                f,
                "it has no address of its own, and its port {port} is not published; publish it, \
                 or write TARGET="
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Inspected {
        Inspected::read(format!("[{json}]").as_bytes()).unwrap()
    }

    fn at(json: &str, port: Option<u16>, root: bool) -> Result<String, NoAddress> {
        let address = read(json).address_for(port, root);
        address.map(|address| address.to_string())
    }

    /// As docker 20 says it.
    const DOCKER: &str = r#"{
        "State": {"Status": "running", "Running": true, "Paused": false, "Restarting": false},
        "Config": {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Image": "x"},
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"},
                                 {"HostIp": "::", "HostPort": "8080"}], "53/udp": null},
            "IPAddress": "172.17.0.2", "GlobalIPv6Address": "",
            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}}
        }}"#;

    #[test]
    fn root_goes_to_the_container_and_others_to_its_published_port() {
        assert_eq!(at(DOCKER, None, true).unwrap(), "172.17.0.2:80");
        assert_eq!(at(DOCKER, None, false).unwrap(), "127.0.0.1:8080");
        assert_eq!(at(DOCKER, Some(81), false).unwrap(), "172.17.0.2:81");
    }

    #[test]
    fn an_engine_without_a_default_network_has_others() {
        let newer = r#"{"NetworkSettings": {"Ports": {"80/tcp": null}, "Networks": {
            "a": {"IPAddress": ""}, "b": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"},
            "c": {"IPAddress": "10.0.0.3"}}}}"#;
        assert_eq!(at(newer, None, true).unwrap(), "[fd00::2]:80");
    }

    #[test]
    fn a_container_without_an_address_is_where_its_port_is_published() {
        let published = |ip: &str| {
            format!(
                r#"{{"Config": {{"ExposedPorts": null}}, "NetworkSettings": {{"IPAddress": "",
                "Networks": null, "Ports": {{"80/tcp": [{{"HostIp": "{ip}", "HostPort": "81"}}]}}}}}}"#
            )
        };
        for (ip, address) in [
            ("", "127.0.0.1:81"),
            ("::", "[::1]:81"),
            ("192.0.2.1", "192.0.2.1:81"),
        ] {
            assert_eq!(at(&published(ip), None, true).unwrap(), address);
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(at("{}", None, true), Err(NoAddress::NoPort));
        assert_eq!(at("{}", Some(80), true), Err(NoAddress::Nowhere(80)));
        let several = r#"{"Config": {"ExposedPorts": {"80/tcp": {}, "443/tcp": {}}}}"#;
        let error = at(several, None, true).unwrap_err();
        assert_eq!(error, NoAddress::SeveralPorts(vec![80, 443]));
        assert!(error.to_string().contains("(80, 443)"), "{error}");
    }

    #[test]
    fn only_a_container_that_runs_is_up() {
        let state = |running, paused, restarting| {
            read(&format!(
                r#"{{"State": {{"Running": {running}, "Paused": {paused}, "Restarting": {restarting}}}}}"#
            ))
            .state()
        };
        assert_eq!(read(DOCKER).state(), State::Up);
        assert_eq!(state(true, true, false), State::Paused);
        // Podman says of a paused one that it does not run.
        assert_eq!(state(false, true, false), State::Paused);
        assert_eq!(state(false, false, false), State::Down);
        assert_eq!(state(true, false, true), State::Down);
    }

    #[test]
    fn what_is_not_about_one_container_is_refused() {
        for json in ["", "[]", "[{},{}]", "{}", "[{\"State\": 1}]"] {
            assert!(Inspected::read(json.as_bytes()).is_err(), "{json}");
        }
    }
}
