#!/bin/sh
# Runs a peer of Linecast on loopback, configured as docs/load.md compares it, until Ctrl-C.
#
#   tests/peers/peer.sh nchan        nginx with nchan: port 8080, /sub/ROOM (WebSocket) and /pub/ROOM (POST)
#   tests/peers/peer.sh centrifugo   port 8000, namespace `live`, API key `dev`
#   tests/peers/peer.sh nats         NATS at 4222, over WebSocket at 8222
#
# It installs nothing. The programs come from where their makers publish them:
#
#   nchan        the Debian packages nginx and libnginx-mod-nchan; NCHAN_MODULE names another place of the module
#   centrifugo   go install github.com/centrifugal/centrifugo/v6@latest
#   nats         go install github.com/nats-io/nats-server/v2@latest
#
# Connections are descriptors: raise `ulimit -n` first.
set -eu

usage() {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 64
}

needs() {
    command -v "$1" >/dev/null || { echo "peer.sh: $1 is not installed; $2" >&2; exit 1; }
}

[ $# -eq 1 ] || usage
PATH="$PATH:/usr/sbin:$(go env GOPATH 2>/dev/null || echo "$HOME/go")/bin"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
descriptors=$(ulimit -n)

case $1 in
nchan)
    needs nginx "apt-get install nginx libnginx-mod-nchan"
    module=${NCHAN_MODULE:-/usr/lib/nginx/modules/ngx_nchan_module.so}
    # No access log, one worker a processor, as many messages kept as Linecast's `live` keeps.
    cat >"$folder/nginx.conf" <<END
load_module $module;
daemon off;
pid $folder/nginx.pid;
error_log stderr warn;
worker_processes auto;
worker_rlimit_nofile $descriptors;
events { worker_connections $descriptors; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    nchan_shared_memory_size 512M;
    server {
        listen 127.0.0.1:8080 backlog=4096;
        keepalive_requests 1000000000;
        location ~ ^/pub/(.+)\$ {
            nchan_publisher;
            nchan_channel_id \$1;
            nchan_message_buffer_length 1000;
            nchan_message_timeout 1m;
        }
        location ~ ^/sub/(.+)\$ {
            nchan_subscriber websocket;
            nchan_channel_id \$1;
            nchan_subscriber_first_message newest;
            nchan_websocket_ping_interval 25s;
        }
    }
}
END
    nginx -p "$folder" -c "$folder/nginx.conf"
    ;;
centrifugo)
    needs centrifugo "go install github.com/centrifugal/centrifugo/v6@latest"
    cat >"$folder/config.json" <<END
{
  "http_server": { "address": "127.0.0.1", "port": "8000" },
  "http_api": { "key": "dev" },
  "client": { "allowed_origins": ["*"], "allow_anonymous_connect_without_token": true },
  "channel": {
    "namespaces": [
      {
        "name": "live",
        "allow_subscribe_for_client": true,
        "allow_subscribe_for_anonymous": true,
        "history_size": 1000,
        "history_ttl": "60s"
      }
    ]
  }
}
END
    centrifugo -c "$folder/config.json"
    ;;
nats)
    needs nats-server "go install github.com/nats-io/nats-server/v2@latest"
    cat >"$folder/nats.conf" <<END
listen: "127.0.0.1:4222"
max_connections: $descriptors
websocket { listen: "127.0.0.1:8222", no_tls: true, compression: false }
END
    nats-server -c "$folder/nats.conf"
    ;;
*) usage ;;
esac
