#!/usr/bin/env bash
# What is published, signed, so that others can tell what they install; and the check of it.
# Usage: deploy/release.sh [DIR]                     (default: target/release-VERSION; replaced whole)
#        deploy/release.sh --verify DIR PUBLIC_KEY   (a file, as `gpg --export KEY` writes it, armoured or not)
#
# DIR gets the images as OCI archives, under the names that the chart asks for; the chart and its provenance; for
# each image a bill of materials (CycloneDX) of what is linked into its programs; and SHA256SUMS over all of
# these, with a signature.
# MBCAS_SIGNING_KEY names the key, in the GnuPG of whoever calls: a fingerprint, an id or an address.
# MBCAS_SIGNING_PASSPHRASE_FILE is for a key with a passphrase where nobody sits at the terminal.
# MBCAS_REGISTRY=host/path names the images after it; nothing is pushed.
# Times are those of the commit, or SOURCE_DATE_EPOCH: from the same images two runs make the same files, but for
# the signatures.
set -euo pipefail
from=$PWD
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export PATH=${XDG_CACHE_HOME:-$HOME/.cache}/mbcas/bin:$PATH

how_to_make_one="gpg --quick-generate-key 'NAME <ADDRESS>' rsa4096 sign"
say() { printf '[%4ds] release: %s\n' "$SECONDS" "$*" >&2; }
fail() { printf 'release: %s\n' "$@" >&2; exit 1; }
usage() { sed -n '3,4s/^# //p' deploy/release.sh >&2; exit 2; }

# as_called PATH: a path as whoever called means it.
as_called() { if [[ $1 == /* ]]; then printf '%s' "$1"; else printf '%s/%s' "$from" "$1"; fi; }

# find_key: the one key that is named, as `fingerprint` and `owner`. Both signatures are the primary key's,
# because helm signs with no other.
find_key() {
  local named=MBCAS_SIGNING_KEY=$MBCAS_SIGNING_KEY listed secret trust can token
  listed=$("${gpg[@]}" --with-colons --list-secret-keys -- "$MBCAS_SIGNING_KEY" 2>/dev/null) ||
    fail "$named: there is no such secret key in ${GNUPGHOME:-$HOME/.gnupg}." \
      "List those there are:  gpg --list-secret-keys   Make one:  $how_to_make_one"
  secret=$(grep '^sec:' <<<"$listed")
  [ "$(wc -l <<<"$secret")" = 1 ] || fail "$named: several keys are called so. Name one by its fingerprint."
  IFS=: read -r _ trust _ _ _ _ _ _ _ _ _ can _ _ token _ <<<"$secret"
  [[ $trust != [edr] ]] || fail "$named: the key is expired, disabled or revoked. Name another."
  [[ $can == *s* && $token == + ]] ||
    fail "$named: its primary key cannot sign, or has its secret elsewhere, and helm signs with no other." \
      "Make one for releases:  $how_to_make_one"
  fingerprint=$(awk -F: '$1 == "fpr" { print $10; exit }' <<<"$listed")
  # The listing writes \x3a for a colon, which printf reads.
  owner=$(printf '%b' "$(awk -F: '$1 == "uid" { print $10; exit }' <<<"$listed")")
}

# helm ARGS: the one that is found, without any configuration of the caller's.
helm() { env HELM_CACHE_HOME="$work/helm" HELM_CONFIG_HOME="$work/helm" HELM_DATA_HOME="$work/helm" "$helm" "$@"; }

# chart: mbcas-VERSION.tgz and its provenance. The secret key goes through a pipe, and onto no disk.
chart() {
  local secret
  say "chart: packaging, and signing as $owner"
  secret=$("${gpg[@]}" "${passphrase[@]}" --armor --export-secret-keys "$fingerprint") ||
    fail "key $fingerprint: gpg does not hand it to helm (see above)." \
      "If it has a passphrase and nobody can be asked, put that into a file: MBCAS_SIGNING_PASSPHRASE_FILE=FILE."
  SOURCE_DATE_EPOCH=$epoch helm package chart --destination "$new" \
    --sign --key "$owner" --keyring <(printf '%s\n' "$secret") \
    ${MBCAS_SIGNING_PASSPHRASE_FILE:+--passphrase-file "$MBCAS_SIGNING_PASSPHRASE_FILE"} >&2 ||
    fail "helm could not package and sign the chart (see above)."
  [ -e "$new/mbcas-$version.tgz" ] ||
    fail "chart/Chart.yaml is not of version $version, as Cargo.toml is. Give both the same."
}

# image NAME TITLE: the archive in target/images with the tag that the chart asks for, and with times that are the
# same again. The tag stands in index.json, which the image's digest does not cover.
image() {
  local archive=target/images/$1.tar layout=$work/$1
  mkdir "$layout"
  tar -xf "$archive" -C "$layout"
  jq -e '.manifests | length == 1' "$layout/index.json" >/dev/null 2>&1 ||
    fail "$archive is no OCI archive. Install buildah, remove $archive, and run this again."
  reference=$(sed 's/:[^:]*$//' "target/images/$1.ref"):$version
  digest=$(jq -r '.manifests[0].digest' "$layout/index.json")
  jq -c --arg reference "$reference" '.manifests[0].annotations["org.opencontainers.image.ref.name"] = $reference' \
    "$layout/index.json" >"$work/index.json"
  mv "$work/index.json" "$layout/index.json"
  tar -cf "$new/$2-$version.oci.tar" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX -C "$layout" blobs index.json oci-layout
  say "image $2: $reference, $digest"
}

# crates: what is known of the crates of every package. cargo-cyclonedx writes beside each Cargo.toml, and so it
# gets a copy.
crates() {
  mkdir "$work/tree"
  cp -r Cargo.toml Cargo.lock src certs webhook tests "$work/tree/"
  SOURCE_DATE_EPOCH=$epoch cargo cyclonedx --quiet --manifest-path "$work/tree/Cargo.toml" --format json \
    --spec-version 1.5 --no-build-deps --target "$triple" --override-filename sbom ||
    fail "cargo-cyclonedx could not describe the crates (see above)."
  find "$work/tree" -name sbom.json -exec cat {} + >"$work/crates.json"
}

# bill NAME TITLE: of the image that `image` made last.
bill() {
  jq -n --slurpfile cargo "target/images/$1.cargo" --slurpfile boms "$work/crates.json" --arg triple "$triple" \
    --arg name "$2" --arg version "$version" --arg reference "$reference" --arg digest "$digest" \
    --arg source "$commit" --arg rust "$(rustc -V | cut -d ' ' -f 2)" \
    --arg libc "$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)" \
    -f deploy/sbom.jq >"$new/$2-$version.cdx.json" ||
    fail "image $2: its bill of materials could not be written (see above)."
}

sign_sums() {
  (cd "$new" && sha256sum -- * >SHA256SUMS)
  "${gpg[@]}" "${passphrase[@]}" --local-user "$fingerprint!" --armor --detach-sign "$new/SHA256SUMS" ||
    fail "key $fingerprint did not sign SHA256SUMS (see above)."
}

# release [DIR]
release() {
  local dir=$1 fingerprint owner version triple commit epoch new reference digest gpg passphrase=()
  [ -n "${MBCAS_SIGNING_KEY:-}" ] ||
    fail "MBCAS_SIGNING_KEY names no key to sign with: give a fingerprint, an id or an address." \
      "List those there are:  gpg --list-secret-keys   Make one:  $how_to_make_one"
  if [ -n "${MBCAS_SIGNING_PASSPHRASE_FILE:-}" ]; then
    MBCAS_SIGNING_PASSPHRASE_FILE=$(as_called "$MBCAS_SIGNING_PASSPHRASE_FILE")
    [ -r "$MBCAS_SIGNING_PASSPHRASE_FILE" ] ||
      fail "MBCAS_SIGNING_PASSPHRASE_FILE=$MBCAS_SIGNING_PASSPHRASE_FILE cannot be read."
    passphrase=(--pinentry-mode loopback --passphrase-file "$MBCAS_SIGNING_PASSPHRASE_FILE")
  fi
  command -v gpg >/dev/null || deploy/prerequisites.sh release
  gpg=(gpg --batch --quiet --yes)
  find_key
  deploy/prerequisites.sh release

  version=$(cargo metadata --locked --no-deps --format-version 1 |
    jq -r '.packages[] | select(.name == "mbcas") | .version')
  dir=${dir:-$PWD/target/release-$version}
  dir=${dir%/}
  [ -z "$(ls -A "$dir" 2>/dev/null)" ] || [ -e "$dir/SHA256SUMS" ] ||
    fail "$dir is there and is no release: it is not replaced. Name another folder, or remove it."
  triple=$(rustc -vV | sed -n 's/^host: //p')
  commit=$(git describe --always --dirty --abbrev=40 --exclude '*') ||
    fail "$PWD has no commit to make a release of. Run this in a clone."
  epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
  [[ $commit != *-dirty ]] || say "the work tree differs from its commit; the bills of materials say so"
  deploy/local/cluster build helm
  helm=$(deploy/local/cluster path helm)

  # Beside what it replaces, so that it takes the name by one rename.
  mkdir -p "$(dirname "$dir")"
  beside=$(mktemp -d "$dir.XXXXXX")
  new=$beside/new
  mkdir "$new"
  # First what may ask for a passphrase: nobody should wait for the images to hear that it was wrong.
  chart
  # Nothing that is compiled may depend on this one.
  env -u SOURCE_DATE_EPOCH deploy/images.sh --no-load >/dev/null
  crates
  image mbcas mbcas
  bill mbcas mbcas
  image agent mbcas-demand-agent
  bill agent mbcas-demand-agent
  sign_sums
  "${gpg[@]}" --export "$fingerprint" >"$work/public"
  verify "$new" "$work/public"
  # Whoever looks sees the old release, for a moment none, or the new one; never some of each.
  if [ -e "$dir" ]; then mv -T "$dir" "$beside/old"; fi
  mv -T "$new" "$dir" || {
    [ ! -e "$beside/old" ] || mv -T "$beside/old" "$dir"
    fail "$dir could not be put in place (see above); what was there before is there again."
  }
  say "signed by $fingerprint"
  printf '%s\n' "$dir"
}

# verify DIR PUBLIC_KEY: nothing in DIR was changed, added or lost since the key's owner signed it. gpgv uses no
# keyring of the caller's and starts no agent; it takes the word of the key that is named, expired or not.
verify() {
  local dir=$1 key=$2 checked names wrong
  if [ ! -e "$dir/SHA256SUMS" ] || [ ! -e "$dir/SHA256SUMS.asc" ]; then
    fail "$dir lacks SHA256SUMS or SHA256SUMS.asc: it is no release, or not all of it was fetched."
  fi
  cat "$key" >"$work/ring" || fail "public key $key cannot be read. Its owner writes it:  gpg --export KEY >FILE"
  if grep -q '^-----BEGIN PGP' "$work/ring"; then
    mv "$work/ring" "$work/ring.asc"
    gpg --homedir "$work" --batch --quiet --yes --dearmor --output "$work/ring" "$work/ring.asc"
  fi
  gpgv --quiet --keyring "$work/ring" "$dir/SHA256SUMS.asc" "$dir/SHA256SUMS" 2>"$work/log" || {
    cat "$work/log" >&2
    fail "SHA256SUMS in $dir is not as $key signed it. Do not install what is beside it; fetch it again."
  }
  checked=$(cd "$dir" && LC_ALL=C sha256sum --check --strict SHA256SUMS 2>"$work/log") || {
    cat "$work/log" >&2
    wrong=$(sed -n 's/: FAILED.*//p' <<<"$checked")
    fail "${wrong//$'\n'/, } in $dir: changed or lost since SHA256SUMS was signed. Do not install it; fetch it again."
  }
  names=$(sed 's/^[^ ]* [ *]//' "$dir/SHA256SUMS")
  wrong=$(cd "$dir" && find . -mindepth 1 -printf '%P\n' |
    grep -vxF -e SHA256SUMS -e SHA256SUMS.asc -e "$names") || true
  [ -z "$wrong" ] || fail "${wrong//$'\n'/, } in $dir: not among what was signed. Remove it."
  wrong=$(grep '\.tgz$' <<<"$names") || fail "$dir holds no chart: it is no release of MBCAS."
  helm verify "$dir/$wrong" --keyring "$work/ring" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "$wrong in $dir: its provenance is not by $key, or of another chart. Do not install it."
  }
  say "verified: $(wc -l <"$dir/SHA256SUMS") files and the chart's provenance are as they were signed"
}

# find_verifiers: the project's helm, or any.
find_verifiers() {
  helm=$(deploy/local/cluster path helm)
  [ -x "$helm" ] || helm=$(type -P helm) ||
    fail "there is no helm to verify the chart with. This builds one:  deploy/local/cluster build helm"
  command -v gpgv >/dev/null || fail "gpgv is not installed. This installs it:  deploy/prerequisites.sh release"
}

work=$(mktemp -d)
beside=
trap 'rm -rf "$work" ${beside:+"$beside"}' EXIT
case ${1:-} in
  --verify)
    [ $# = 3 ] || usage
    find_verifiers
    verify "$(as_called "$2")" "$(as_called "$3")"
    ;;
  -*) usage ;;
  *)
    [ $# -le 1 ] || usage
    release "${1:+$(as_called "$1")}"
    ;;
esac
