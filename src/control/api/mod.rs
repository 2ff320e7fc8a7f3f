//! What can be asked over the control socket, and what is answered.
//!
//! | route | answer |
//! | --- | --- |
//! | `GET /v1/status` | 200, [`Status`] |
//! | `POST /v1/check`, with [`Units`] or nothing | 200, [`Reloaded`]: a reload would be taken; 422, [`Errors`]: it would not |
//! | `POST /v1/reload`, with [`Units`] or nothing | 200, [`Reloaded`]; 422, [`Errors`], and nothing has changed; 409, [`Errors`], it is in force, but not all ports are open |
//!
//! The units are generated sockets that systemd has stopped, or is to stop before the reload: what
//! they gave the daemon does not count any more.
//!
//! Within `/v1` fields are only ever added; readers ignore those that they do not know.

mod status;

use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

pub use self::status::{Counters, DrainingStatus, Outcomes, ServiceStatus, State, Status};

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// How is everything?
    Status,
    /// Could the configuration be read again? These units will have been stopped by then.
    Check(Units),
    /// Read the configuration again. These units have been stopped: a socket of theirs is closed,
    /// or is the daemon's own from now on if a section claims it.
    Reload(Units),
}

/// Where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// [`Request::Status`].
    Status,
    /// [`Request::Check`].
    Check,
    /// [`Request::Reload`].
    Reload,
}

/// Units of systemd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// Their names.
    pub units: Vec<String>,
}

/// What it gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// The configuration is sound, and nothing has changed.
    Checked(Reloaded),
    /// The new configuration is in force.
    Reloaded(Reloaded),
    /// The configuration has errors, and the old one stays in force.
    Rejected(Errors),
    /// The new configuration is in force, but for these ports.
    Incomplete(Errors),
    /// The daemon shuts down, and takes no more requests.
    Stopping,
}

/// What is in force, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many services.
    pub services: u64,
    /// What the configuration says that may not be meant. With file and line.
    pub warnings: Vec<String>,
}

/// Why something was not done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Each a sentence; those of a configuration with file and line, and its warnings among them.
    pub errors: Vec<String>,
}

/// Why a request is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// No such path.
    NotFound(String),
    /// The path takes another method.
    Method {
        /// Which it takes.
        allow: Method,
    },
}

// === impl Request ===

impl Request {
    /// Where it is asked for.
    #[must_use]
    pub fn route(&self) -> Route {
        match self {
            Self::Status => Route::Status,
            Self::Check(_) => Route::Check,
            Self::Reload(_) => Route::Reload,
        }
    }

    /// What is said beside the route: JSON, or nothing.
    ///
    /// # Errors
    /// None in practice: these types have neither maps with odd keys nor fallible parts.
    pub fn body(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::Status => Ok(Vec::new()),
            Self::Check(units) | Self::Reload(units) => serde_json::to_vec(units),
        }
    }
}

// === impl Route ===

impl Route {
    /// Every route.
    const ALL: [Self; 3] = [Self::Status, Self::Check, Self::Reload];

    /// How it is asked for.
    #[must_use]
    pub fn method_and_path(self) -> (Method, &'static str) {
        match self {
            Self::Status => (Method::GET, "/v1/status"),
            Self::Check => (Method::POST, "/v1/check"),
            Self::Reload => (Method::POST, "/v1/reload"),
        }
    }

    /// What is asked for by this method and path.
    ///
    /// # Errors
    /// Where that is nothing.
    pub fn of(method: &Method, path: &str) -> Result<Self, RouteError> {
        let mut allow = None;
        for route in Self::ALL {
            let (its_method, its_path) = route.method_and_path();
            if its_path == path && its_method == *method {
                return Ok(route);
            }
            if its_path == path {
                allow = Some(its_method);
            }
        }
        Err(match allow {
            Some(allow) => RouteError::Method { allow },
            None => RouteError::NotFound(path.to_owned()),
        })
    }

    /// The request, with what was said beside the route.
    ///
    /// # Errors
    /// Where that cannot be understood.
    pub fn with(self, body: &[u8]) -> serde_json::Result<Request> {
        Ok(match self {
            Self::Status => Request::Status,
            Self::Check => Request::Check(Units::read(body)?),
            Self::Reload => Request::Reload(Units::read(body)?),
        })
    }
}

// === impl Units ===

impl Units {
    /// No body is no unit: `curl -X POST` is to do.
    fn read(body: &[u8]) -> serde_json::Result<Self> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body)
    }
}

// === impl Response ===

impl Response {
    /// The status code that goes with it.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        match self {
            Self::Status(_) | Self::Checked(_) | Self::Reloaded(_) => StatusCode::OK,
            Self::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Incomplete(_) => StatusCode::CONFLICT,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The JSON of it, with a newline at its end.
    ///
    /// # Errors
    /// None in practice: these types have neither maps with odd keys nor fallible parts.
    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut json = match self {
            Self::Status(status) => serde_json::to_vec(status),
            Self::Checked(found) | Self::Reloaded(found) => serde_json::to_vec(found),
            Self::Rejected(errors) | Self::Incomplete(errors) => serde_json::to_vec(errors),
            Self::Stopping => serde_json::to_vec(&Errors::one("the daemon is shutting down")),
        }?;
        json.push(b'\n');
        Ok(json)
    }
}

// === impl Errors ===

impl Errors {
    /// A single one.
    #[must_use]
    pub fn one(error: impl Into<String>) -> Self {
        Self {
            errors: vec![error.into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_found_by_its_own_route_alone() {
        let units = Units {
            units: vec!["a.socket".to_owned()],
        };
        for request in [
            Request::Status,
            Request::Check(units.clone()),
            Request::Reload(units),
        ] {
            let route = request.route();
            let (method, path) = route.method_and_path();
            assert_eq!(Route::of(&method, path), Ok(route));
            assert_eq!(
                Route::of(&Method::DELETE, path),
                Err(RouteError::Method { allow: method })
            );
            assert_eq!(route.with(&request.body().unwrap()).unwrap(), request);
        }
        let nothing = Request::Reload(Units::default());
        assert_eq!(Route::Reload.with(b"").unwrap(), nothing);
        assert!(Route::Reload.with(b"a.socket").is_err());
        let nothing = Route::of(&Method::GET, "/v1/statu");
        assert_eq!(nothing, Err(RouteError::NotFound("/v1/statu".to_owned())));
    }
}
