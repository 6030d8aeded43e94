#!/usr/bin/env bash
# Makes a release with a key that lives as long as this test, and sees that it verifies, that it says what is in it, and
# that nothing of it can be changed unseen. Usage: deploy/release-test.sh   (`deploy/test.sh release`)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

say() { printf '[%4ds] release test: %s\n' "$SECONDS" "$*" >&2; }
fail() { printf 'release test: %s\n' "$@" >&2; exit 1; }

work=$(mktemp -d)
export GNUPGHOME=$work/gnupg
unset MBCAS_SIGNING_KEY MBCAS_SIGNING_PASSPHRASE_FILE SOURCE_DATE_EPOCH
clean() {
  gpgconf --homedir "$GNUPGHOME" --kill all
  rm -rf "$work"
}
trap clean EXIT
mkdir -m 700 "$GNUPGHOME"
release=$work/release
public=$work/public.asc

# key NAME PASSPHRASE: RSA, which every helm reads.
key() {
  gpg --batch --quiet --pinentry-mode loopback --passphrase "$2" \
    --quick-generate-key "$1 <$1@test.invalid>" rsa2048 sign 1d || fail "gpg could not make a key (see above)."
}

# refused WORDS COMMAND...: the command must fail, and say so in these words.
refused() {
  local words=$1 said
  shift
  if said=$("$@" 2>&1); then
    fail "this was to be refused with '$words', and was not:  $*" "$said"
  fi
  [[ $said == *"$words"* ]] || fail "this was to be refused with '$words':  $*" "$said"
}

# look_at FOLDER: what would change if somebody wrote there.
look_at() { find "$1" -printf '%p %s %T@\n' 2>/dev/null || true; }

# flip FILE: changes one bit in its middle.
flip() {
  local at byte
  at=$(($(stat -c %s "$1") / 2))
  byte=$(od -An -tu1 -j "$at" -N 1 "$1")
  # shellcheck disable=SC2059 # the escape is the point
  printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

verify() { deploy/release.sh --verify "$release" "${1:-$public}"; }

without_a_key() {
  say "without a key, nothing is begun"
  refused "MBCAS_SIGNING_KEY names no key" timeout 10 deploy/release.sh "$release"
  refused "no such secret key" env MBCAS_SIGNING_KEY=nobody timeout 10 deploy/release.sh "$release"
  [ ! -e "$release" ] || fail "$release was made without a key."
  mkdir "$work/other"
  touch "$work/other/precious"
  refused "is no release" env MBCAS_SIGNING_KEY=plain@test.invalid deploy/release.sh "$work/other"
}

# crates_of TITLE: those that its bill of materials names, as NAME-VERSION.
crates_of() { jq -r '.components[] | "\(.name)-\(.version)"' "$release/$1-$version.cdx.json" | sort; }

# programs_of TITLE: unpacks the image's only layer, and prints the folder.
programs_of() {
  local to=$work/image-$1 manifest layer
  mkdir -p "$to/root"
  tar -xf "$release/$1-$version.oci.tar" -C "$to"
  manifest=$(jq -r '.manifests[0].digest' "$to/index.json")
  layer=$(jq -r '.layers[0].digest' "$to/blobs/${manifest/://}")
  tar -xf "$to/blobs/${layer/://}" -C "$to/root"
  printf '%s\n' "$to/root/bin"
}

# bill TITLE NAMED ABSENT...: is CycloneDX, names the one crate and none of the others, and names every crate whose
# source the programs themselves name in their messages.
bill() {
  local title=$1 named=$2 file crate seen missing bin
  shift 2
  say "bill of materials of $title"
  file=$release/$title-$version.cdx.json
  bin=$(programs_of "$title")
  jq -e --arg title "$title" --arg version "$version" '.bomFormat == "CycloneDX" and .specVersion == "1.5"
    and .metadata.component.name == $title and .metadata.component.version == $version' "$file" >/dev/null ||
    fail "$file is no CycloneDX of $title $version."
  crates_of "$title" >"$work/crates"
  grep -q "^$named-[0-9]" "$work/crates" || fail "$file does not name $named."
  for crate in "$@"; do
    ! grep -q "^$crate-[0-9]" "$work/crates" || fail "$file names $crate, which is not in the image."
  done
  # The names of cargo's own folders of sources, as panics report them.
  cat "$bin"/* | grep -aoE 'registry/src/[^/]+/[^/]+/' | cut -d / -f 4 | sort -u >"$work/seen"
  seen=$(wc -l <"$work/seen")
  [ "$seen" -ge 10 ] || fail "the programs of $title name $seen crates only; this test does not know them any more."
  missing=$(comm -23 "$work/seen" "$work/crates")
  [ -z "$missing" ] || fail "these are in the image of $title, and $file does not name them:" "$missing"
  ! grep -qF -e "$PWD" -e "$HOME" -e "${TMPDIR:-/tmp}" "$file" || fail "$file names folders of this machine."
}

# names: the archives hold what the chart in the release asks for.
names() {
  local title reference
  "$(deploy/local/cluster path helm)" template mbcas "$release/mbcas-$version.tgz" --kube-version 1.37 >"$work/rendered"
  for title in mbcas mbcas-demand-agent; do
    reference=$(tar -xOf "$release/$title-$version.oci.tar" index.json |
      jq -r '.manifests[0].annotations["org.opencontainers.image.ref.name"]')
    grep -qE "/${reference##*/}(\"|\$)" "$work/rendered" ||
      fail "the chart does not ask for $reference, which $title-$version.oci.tar holds."
  done
}

# again: a second release of the same, by a key with a passphrase, takes the place of the first, and but for the
# signatures its files are the same. The first comes back. The times in the chart are the commit's, not the clone's.
again() {
  local file times
  say "again, by a key with a passphrase: the same files"
  cp -a "$release" "$work/first"
  printf 'two words\n' >"$work/passphrase"
  MBCAS_SIGNING_KEY=locked@test.invalid MBCAS_SIGNING_PASSPHRASE_FILE=$work/passphrase \
    deploy/release.sh "$release" >/dev/null
  gpg --export --armor locked@test.invalid >"$work/locked.asc"
  verify "$work/locked.asc"
  refused "SHA256SUMS in $release is not as" verify
  for file in "$work"/first/*.{oci.tar,cdx.json,tgz}; do
    cmp "$file" "$release/${file##*/}" || fail "${file##*/} differs between two releases of the same."
  done
  times=$(TZ=UTC tar --full-time -tvf "$release/mbcas-$version.tgz" | awk '{ print $4, $5 }' | sort -u)
  [ "$times" = "$(TZ=UTC git log -1 --date=format-local:'%F %T' --format=%cd)" ] ||
    fail "mbcas-$version.tgz holds other times than the commit's:" "$times"
  rm -rf "$release"
  mv "$work/first" "$release"
}

# tampering: whatever is changed, added or taken is named.
tampering() {
  local file words
  for file in "$release"/*; do
    file=${file##*/}
    case $file in
      SHA256SUMS | SHA256SUMS.asc) words=SHA256SUMS ;;
      *) words="release: $file in $release: changed or lost" ;;
    esac
    say "without $file, and with one bit of it changed"
    mv "$release/$file" "$work/kept"
    refused "$words" verify
    cp "$work/kept" "$release/$file"
    flip "$release/$file"
    refused "$words" verify
    mv -f "$work/kept" "$release/$file"
  done
  touch "$release/added.tgz"
  refused "added.tgz in $release: not among what was signed" verify
  rm "$release/added.tgz"
  say "a chart that is not of its provenance, with sums that are signed"
  cp -a "$release" "$work/true"
  flip "$release/mbcas-$version.tgz"
  (cd "$release" && sha256sum -- mbcas* >SHA256SUMS)
  gpg --batch --quiet --yes --local-user plain@test.invalid --armor --detach-sign "$release/SHA256SUMS"
  refused "mbcas-$version.tgz in $release: its provenance" verify
  rm -rf "$release"
  mv "$work/true" "$release"
  verify
}

own_keyring=${HOME:?}/.gnupg
had_keyring=$(look_at "$own_keyring")
say "two keys"
key plain ''
key locked 'two words'
gpg --export --armor plain@test.invalid >"$public"
without_a_key
say "a release"
said=$(MBCAS_SIGNING_KEY=plain@test.invalid deploy/release.sh "$release")
[ "$said" = "$release" ] || fail "the release says that it is in '$said'."
version=$(sed -n 's/^version: //p' chart/Chart.yaml)
verify
gpg --export plain@test.invalid >"$work/public.gpg"
verify "$work/public.gpg"
# Of the absent ones two are for tests only, and one for macros.
bill mbcas rustls proptest kube-cel syn
bill mbcas-demand-agent tokio proptest syn k8s-openapi kube rustls
names
again
tampering
[ "$(look_at "$own_keyring")" = "$had_keyring" ] || fail "$own_keyring was touched."
[ -z "$(find "$work" -maxdepth 1 -name 'release.*')" ] || fail "the release left a folder beside it."
say "all good"
