#!/bin/sh
# make_certificates.sh FOLDER: an authority, and certificates of it that last 60 days and 5.
set -eu
mkdir -p "$1" && cd "$1"
[ ! -e short.pem ] || exit 0
curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
# shellcheck disable=SC2086 # words, not one
openssl req -x509 $curve -days 90 -subj '/CN=Test authority' -keyout ca.key -out ca.pem
# shellcheck disable=SC2086
openssl req $curve -subj /CN=projects.example.org -keyout key.pem -out request.pem
printf 'subjectAltName=DNS:projects.example.org' >names
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 60 -extfile names -out fullchain.pem
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 5 -extfile names -out short.pem
