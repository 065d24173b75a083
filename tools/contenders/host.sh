#!/bin/sh
# Makes a bare Debian host what Capistrano and the plain script expect, as a guide for hand-made servers does: packages, one
# user that deploys and serves, .env, virtual environment, systemd unit, nginx in front. Run as root on the host:
#   sh -s CODE VENV WORKERS THREADS INDEX CA      CODE is where the code will be; INDEX and CA may be empty
set -eu
code=$1 venv=$2 workers=$3 threads=$4 index=$5 ca=$6

apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends curl git nginx python3-venv
{
  echo '[global]'
  [ -z "$index" ] || echo "index-url = $index"
  [ ! -e "$ca" ] || echo "cert = $ca"
} >/etc/pip.conf

install -d -o ops -g ops /srv/projects /srv/projects/shared
umask 077
cat >/srv/projects/shared/.env <<ENV
SECRET_KEY="$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
DATABASE_URL="sqlite:////srv/projects/shared/projects.db"
CORS_ALLOWED_ORIGINS="https://example.org"
APP_CONFIG="production"
FLASK_APP="app:create_app('production')"
ENV
chown ops:ops /srv/projects/shared/.env
umask 022
runuser -u ops -- python3 -m venv "$venv"

cat >/etc/systemd/system/projects.service <<UNIT
[Unit]
After=network.target

[Service]
User=ops
WorkingDirectory=$code
EnvironmentFile=/srv/projects/shared/.env
ExecStart=$venv/bin/python -m gunicorn --bind 127.0.0.1:8000 --worker-class gthread --workers $workers --threads $threads "app:create_app('production')"
Restart=on-failure

[Install]
WantedBy=multi-user.target
UNIT
cat >/etc/nginx/sites-available/projects <<'SITE'
server {
    listen 80 default_server;
    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
    }
}
SITE
ln -sf ../sites-available/projects /etc/nginx/sites-enabled/projects
rm -f /etc/nginx/sites-enabled/default
systemctl daemon-reload
systemctl enable --quiet projects.service nginx.service
systemctl reload-or-restart nginx.service
