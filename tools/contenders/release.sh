#!/bin/sh
# The plain script that most small backends are deployed with. Run on the host:  sh -s REPOSITORY GUNICORN
set -eu
cd /srv/projects
[ -d checkout ] || git clone --quiet "$1" checkout
cd checkout
git pull --quiet --ff-only
cd api
../../venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt "gunicorn==$2"
set -a
# shellcheck source=/dev/null # host.sh makes it on the host
. ../../shared/.env
set +a
../../venv/bin/flask db upgrade
sudo systemctl restart projects.service
