#!/usr/bin/env bash
# Installs what the tests start and what is missing here: Mosquitto, Prometheus, Java 17 or newer, Maven, libfaketime.
# Says what it installs, and neither starts nor enables a service.
set -euo pipefail
PATH="$PATH:/usr/sbin:/usr/local/sbin"

has() { command -v "$1" >/dev/null 2>&1; }

java_version() { java -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p'; }

has_java() { has java && [ "$(java_version)" -ge 17 ] 2>/dev/null; }

packages=()
services=()
has mosquitto || { packages+=(mosquitto); services+=(mosquitto); }
has prometheus || { packages+=(prometheus); services+=(prometheus); }
has_java || packages+=(java)
has mvn || packages+=(maven)
has faketime || packages+=(faketime)
[ ${#packages[@]} -gt 0 ] || exit 0

if ! has apt-get; then
    echo "Missing here: ${packages[*]} (java means 17 or newer). There is no apt-get: install them by hand." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    has sudo || { echo "Missing here: ${packages[*]}. Install them as root, or install sudo." >&2; exit 1; }
    as_root=(sudo)
fi

echo "Installing for the tests, with apt-get: ${packages[*]}"
"${as_root[@]}" apt-get update -qq
if [[ " ${packages[*]} " == *" java "* ]]; then
    java=default-jre-headless
    for version in 21 17; do
        if apt-cache policy "openjdk-$version-jre-headless" | grep -q 'Candidate: [0-9]'; then
            java="openjdk-$version-jre-headless"
            break
        fi
    done
    packages=("${packages[@]/#java/$java}")
fi

# Debian starts a service when its package is installed, unless this file says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
for service in "${services[@]}"; do
    if has systemctl; then
        "${as_root[@]}" systemctl disable --now "$service" >/dev/null 2>&1 || true # no systemd running: nothing to disable
    fi
done

has_java || { echo "java on PATH is version $(java_version); 17 or newer is needed: update-alternatives --config java" >&2; exit 1; }
