# The bill of materials of one image (CycloneDX), out of two sources: what cargo said it compiled for the image
# ($cargo), and what cargo-cyclonedx knows of the crates of each package of the workspace ($boms). The latter alone
# would name macros too, and crates that only tests bring in by their features.
# Arguments: $triple, $name, $version, $reference and $digest of the image, $source (the commit), $rust, $libc.

# Where a package lies on this machine is nobody's business: NAME@VERSION.
def key:
  split("#") as [$place, $rest]
  | if $rest | contains("@") then $rest else ($place | split("/") | last) + "@" + $rest end;

# What is below all crates, linked statically too.
def below($name; $version; $purl):
  {type: "library", "bom-ref": "\($name)@\($version)", $name, $version, scope: "required",
    purl: "\($purl)@\($version)"};

# What runs on the building machine only (build scripts, macros) lies elsewhere.
($cargo | map(select(.reason == "compiler-artifact" and any(.filenames[]; contains("/target/\($triple)/")))))
  as $compiled
| ($compiled | map(.package_id | key) | unique) as $crates
| ($compiled | map(select(.executable != null) | .package_id | key) | unique) as $programs
| ($boms | map(select(.metadata.component["bom-ref"] | key | IN($programs[])))) as $boms
| [below("std"; $rust; "pkg:generic/rust"), below("glibc"; $libc; "pkg:generic/glibc")] as $below
| ($boms | map(.metadata.component) + map(.components[])
    | map(."bom-ref" |= key | select(."bom-ref" | IN($crates[])) | del(.components)
        # Ours are published nowhere; their address would be a folder.
        | if (.purl // "") | contains("download_url=file:") then del(.purl) else . end)
    | group_by(."bom-ref") | map(.[0])) as $components
| ($crates - ($components | map(."bom-ref"))) as $unknown
| if $crates == [] or $unknown != [] then error("cargo-cyclonedx does not know of \($unknown)") else . end
| ($boms[0] | {bomFormat, specVersion, version})
  + {
    metadata: ($boms[0].metadata + {
      component: {
        type: "container",
        "bom-ref": $reference,
        name: $name,
        version: $version,
        purl: "pkg:oci/\($name)@\($digest | @uri)",
        properties: [{name: "mbcas:reference", value: $reference}, {name: "mbcas:source", value: $source}]
      }
    }),
    components: ($components + $below),
    dependencies: (
      [{ref: $reference, dependsOn: ($programs + ($below | map(."bom-ref")))}]
      + ($boms | map(.dependencies[]) | map(.ref |= key | select(.ref | IN($crates[])))
        | group_by(.ref) | map(.[0] | .dependsOn = [.dependsOn[]? | key | select(IN($crates[]))]))
    )
  }
