//! Real proxies in front of a service, with the configurations that the guide prints.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::needed;
use super::program::{Program, replaced};

/// A proxy with a printed configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    /// nginx that asks for a password of its own.
    NginxWithPassword,
    Caddy,
}

/// Starts a proxy in front of two services: one at the root, and one under `/shop`.
pub async fn start(kind: Kind, app: SocketAddr, shop: SocketAddr) -> Program {
    let variable = match kind {
        Kind::Nginx | Kind::NginxWithPassword => "PORTCULLIS_TEST_NGINX",
        Kind::Caddy => "PORTCULLIS_TEST_CADDY",
    };
    let program = needed(variable);
    Program::start(|directory, address| match kind {
        Kind::Caddy => caddy(&program, directory, address, app, shop),
        _ => nginx(&program, kind, directory, address, app, shop),
    })
    .await
}

fn nginx(
    program: &str,
    kind: Kind,
    directory: &Path,
    address: SocketAddr,
    app: SocketAddr,
    shop: SocketAddr,
) -> Child {
    let printed = include_str!("../../../src/guide/proxies/nginx.conf");
    let tls = "ssl_certificate /etc/ssl/example.com.pem;\n    \
        ssl_certificate_key /etc/ssl/private/example.com.key;\n";
    let printed = replaced(printed, "listen 443 ssl;", &format!("listen {address};"));
    let printed = replaced(&printed, tls, "");
    let printed = replaced(&printed, "127.0.0.1:3000", &app.to_string());
    let mut printed = replaced(&printed, "127.0.0.1:3001", &shop.to_string());
    if kind == Kind::NginxWithPassword {
        let users = directory.join("staging.htpasswd");
        std::fs::write(&users, "tester:{PLAIN}stage\n").expect("a file");
        let lines = include_str!("../../../src/guide/proxies/nginx-password.conf");
        let users = users.display().to_string();
        let lines = replaced(lines, "/etc/nginx/staging.htpasswd", &users);
        let first = "    # The first service";
        printed = replaced(&printed, first, &format!("{lines}\n{first}"));
    }
    std::fs::write(directory.join("example.conf"), printed).expect("a file");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {name};"));
    let main = format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log warn;\n\
         events {{ }}\nhttp {{ access_log off; {} include example.conf; }}\n",
        temporary.join(" ")
    );
    let main_file = directory.join("nginx.conf");
    std::fs::write(&main_file, main).expect("a file");
    Command::new(program)
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(main_file)
        .args(["-e", "error.log"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts")
}

fn caddy(
    program: &str,
    directory: &Path,
    address: SocketAddr,
    app: SocketAddr,
    shop: SocketAddr,
) -> Child {
    let printed = include_str!("../../../src/guide/proxies/Caddyfile");
    let site = format!("http://example.com:{} {{", address.port());
    let printed = replaced(printed, "example.com {", &site);
    let printed = replaced(&printed, "127.0.0.1:3000", &app.to_string());
    let printed = replaced(&printed, "127.0.0.1:3001", &shop.to_string());
    let options = "{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n\n";
    let file: PathBuf = directory.join("Caddyfile");
    std::fs::write(&file, format!("{options}{printed}")).expect("a file");
    Command::new(program)
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(file)
        .env("XDG_DATA_HOME", directory)
        .env("XDG_CONFIG_HOME", directory)
        .env("HOME", directory)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(directory.join("error.log")).expect("a file"))
        .spawn()
        .expect("Caddy starts")
}
