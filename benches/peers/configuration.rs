//! The proxies' configurations. Rules of fairness: one thread that moves bytes; each proxy's own defaults for buffers; small
//! writes never delayed; keepalive on both legs; no log line per connection; limits far above the load; checks once a second
//! where there are checks.

use std::fmt::Write as _;

use crate::contestant::Contestant;

/// One port of a proxy and the server behind it, as text: the report shows the same configurations with made-up ports.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) listen: String,
    pub(crate) server: String,
}

/// What a configuration depends on.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) routes: Vec<Route>,
    /// Of mainstay's own interface.
    pub(crate) admin: String,
    /// Where files of a running proxy go.
    pub(crate) folder: String,
    /// Where nginx's loadable modules are.
    pub(crate) modules: Option<String>,
}

/// Ends every name of a file that holds it.
pub(crate) const fn ending(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::Mainstay | Contestant::MainstayBusyPoll | Contestant::Envoy => "yaml",
        Contestant::Haproxy | Contestant::HaproxyCopy => "cfg",
        Contestant::Nginx | Contestant::NginxHalfClose | Contestant::Direct => "conf",
    }
}

/// The arguments that make the program run in the foreground with its configuration.
pub(crate) fn arguments(contestant: Contestant, file: &str) -> Vec<String> {
    let words: &[&str] = match contestant {
        Contestant::Mainstay | Contestant::MainstayBusyPoll => &["run", "-c", file],
        Contestant::Haproxy | Contestant::HaproxyCopy => &["-db", "-f", file],
        Contestant::Nginx | Contestant::NginxHalfClose => &["-c", file, "-e", "stderr"],
        Contestant::Envoy => &["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn", "-c", file],
        Contestant::Direct => &[],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The whole configuration.
pub(crate) fn text(contestant: Contestant, setting: &Setting) -> String {
    match contestant {
        Contestant::Mainstay => mainstay(setting, ""),
        Contestant::MainstayBusyPoll => mainstay(setting, "busy_poll: 50us\n"),
        Contestant::Haproxy => haproxy(setting, "    option splice-auto\n"),
        Contestant::HaproxyCopy => haproxy(setting, ""),
        Contestant::Nginx => nginx(setting, ""),
        Contestant::NginxHalfClose => nginx(setting, "    proxy_half_close on;\n"),
        Contestant::Envoy => envoy(setting),
        Contestant::Direct => String::new(),
    }
}

fn mainstay(setting: &Setting, more: &str) -> String {
    let mut text = format!("admin: {{listen: \"{}\"}}\nlog: {{level: warn}}\nworkers: 1\n{more}pools:\n", setting.admin);
    for Route { name, listen, server } in &setting.routes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - {{name: {name}, check: tcp, listen: \"{listen}\", backends: [\"{server}\"]}}");
    }
    text
}

fn haproxy(setting: &Setting, splice: &str) -> String {
    let mut text = format!(
        "\
global
    nbthread 1
    maxconn 7900
defaults
    mode tcp
{splice}    option clitcpka
    option srvtcpka
    timeout connect 2s
    timeout client 1h
    timeout server 1h
"
    );
    for Route { name, listen, server } in &setting.routes {
        let _ = write!(text, "listen {name}\n    bind {listen}\n    server db {server} check inter 1s\n");
    }
    text
}

fn nginx(setting: &Setting, more: &str) -> String {
    let module = setting.modules.as_ref().map_or_else(String::new, |dir| format!("load_module {dir}/ngx_stream_module.so;\n"));
    let mut text = format!(
        "\
{module}daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {}/nginx.pid;
error_log stderr warn;
events {{
    worker_connections 19000;
}}
stream {{
    tcp_nodelay on;
    proxy_connect_timeout 2s;
    proxy_timeout 1h;
    proxy_socket_keepalive on;
{more}",
        setting.folder
    );
    for Route { listen, server, .. } in &setting.routes {
        let _ = write!(
            text,
            "    server {{\n        listen {listen} so_keepalive=on backlog=4096;\n        proxy_pass {server};\n    }}\n"
        );
    }
    text + "}\n"
}

fn envoy(setting: &Setting) -> String {
    let address = |text: &str| {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
        format!("{{socket_address: {{address: {host}, port_value: {port}}}}}")
    };
    let mut listeners = String::new();
    let mut clusters = String::new();
    for Route { name, listen, server } in &setting.routes {
        let (listen, server) = (address(listen), address(server));
        let _ = write!(
            listeners,
            "  - name: {name}
    address: {listen}
    # SO_KEEPALIVE
    socket_options: [{{level: 1, name: 9, int_value: 1, state: STATE_PREBIND}}]
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {name}
          cluster: {name}
"
        );
        let _ = write!(
            clusters,
            "  - name: {name}
    type: STATIC
    connect_timeout: 2s
    upstream_connection_options: {{tcp_keepalive: {{}}}}
    circuit_breakers: {{thresholds: [{{max_connections: 20000, max_pending_requests: 20000}}]}}
    health_checks:
    - {{timeout: 1s, interval: 1s, no_traffic_interval: 1s, unhealthy_threshold: 2, healthy_threshold: 2, tcp_health_check: {{}}}}
    load_assignment:
      cluster_name: {name}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {server}}}}}]}}]
"
        );
    }
    format!("static_resources:\n  listeners:\n{listeners}  clusters:\n{clusters}")
}
