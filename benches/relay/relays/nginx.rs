//! nginx's stream module.

use std::{fs, path::Path};

use super::{Missing, Place, Plan, Program, Room, Threads};
use crate::Result;

/// Where packages put the module, unless it is built in.
const MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
    "/usr/share/nginx/modules/ngx_stream_module.so",
];

pub(super) fn find() -> std::result::Result<Program, Missing> {
    let nginx = Program::find("nginx", &["/usr/sbin", "/usr/bin"], "-v", "nginx")?;
    let built_in = || {
        let options = nginx.says("-V");
        options
            .split_whitespace()
            .any(|word| word == "--with-stream")
    };
    if module().is_none() && !built_in() {
        return Err(Missing {
            what: "nginx's stream module",
            package: "libnginx-mod-stream",
        });
    }
    Ok(nginx)
}

fn module() -> Option<&'static str> {
    MODULES.into_iter().find(|path| Path::new(path).is_file())
}

pub(super) fn plan(threads: Threads, place: &Place<'_>) -> Result<Plan> {
    let load = module().map_or(String::new(), |path| format!("load_module {path};\n"));
    let workers = match threads {
        Threads::Its => "auto",
        Threads::One => "1",
    };
    let room = match place.room {
        Room::Usual => "",
        Room::Crowd => "worker_connections 8192; ",
    };
    let directory = place.directory.display();
    let (front, backend) = (place.front, place.backend);
    let text = format!(
        "{load}daemon off;\npid {directory}/pid;\nerror_log stderr crit;\n\
         worker_processes {workers};\n\
         events {{ {room}}}\n\
         stream {{\n  access_log off;\n  server {{\n    listen {front};\n    \
         proxy_pass {backend};\n    tcp_nodelay on;\n    proxy_timeout 1h;\n  }}\n}}\n"
    );
    let file = place.directory.join("nginx.conf");
    fs::write(&file, text)?;
    let program = find()?.path;
    Ok(Plan::new(
        program,
        &[&"-e", &"stderr", &"-p", &place.directory, &"-c", &file],
    ))
}
