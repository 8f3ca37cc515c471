# shellcheck shell=bash
# `ip` (iproute2): tests of links that go down make networks of their own where the kernel lets them.
install_debian ip iproute2 || missing "iproute2 cannot be installed without root or sudo" "network links that go down"
