# shellcheck shell=bash
# OpenSSH: the tests start servers of their own, with their own configuration and keys, on free loopback ports.
#
#   MAVIS_TEST_SSHD       the path of sshd; ssh-keygen and ssh-agent are on the path
if { [ -x /usr/sbin/sshd ] || install_debian sshd-is-seldom-on-path openssh-server; } && install_debian ssh-keygen openssh-client; then
    # Where sshd leaves its rights behind, when it is started by root.
    if [ "$(id -u)" = 0 ]; then mkdir -p /run/sshd; fi
    export MAVIS_TEST_SSHD=/usr/sbin/sshd
else
    missing "OpenSSH's server cannot be installed without root or sudo" "sources behind SSH"
fi
