//! The header to a backend.

use std::{future::poll_fn, io, time::Duration};

use tokio::time::timeout;

use crate::{
    model::{ClientAddr, LocalAddr, ProxyVersion},
    proxy_protocol::{self, Ends},
    sys::stream::Stream,
};

/// The header for a client with these addresses.
pub(in crate::daemon) fn written(
    version: ProxyVersion,
    client: ClientAddr,
    local: &LocalAddr,
) -> Vec<u8> {
    let ends = match (client, local) {
        (ClientAddr::Tcp(source), LocalAddr::Tcp(destination)) => Some(Ends {
            source,
            destination: *destination,
        }),
        (ClientAddr::Unix, _) | (_, LocalAddr::Unix(_)) => None,
    };
    proxy_protocol::encode(version, ends)
}

/// Sends it all, within `limit`.
///
/// # Errors
/// Those of send(2); `TimedOut` after `limit`.
pub(in crate::daemon) async fn send(
    backend: &Stream,
    header: &[u8],
    limit: Duration,
) -> io::Result<()> {
    let all = async {
        // What the client says follows at once, perhaps before this is acknowledged.
        backend.socket().set_nodelay(true)?;
        let mut rest = header;
        while !rest.is_empty() {
            match backend.socket().send(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| backend.poll_writable(cx)).await?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    };
    timeout(limit, all).await?
}
