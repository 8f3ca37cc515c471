# shellcheck shell=bash
# libfaketime: the tests run servers whose clock they set.
#
#   MAVIS_TEST_FAKETIME   the library that a process preloads
faketime=$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null | head -n 1 || true)
if [ -z "$faketime" ] && install_debian faketime-is-never-on-path libfaketime; then
    faketime=$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null | head -n 1 || true)
fi
if [ -n "$faketime" ]; then
    export MAVIS_TEST_FAKETIME="$faketime"
else
    missing "libfaketime cannot be installed without root or sudo" "clocks that jump"
fi
