#!/bin/sh
# What the other containers need before they start; may run again at any time and then changes only what changed.
#
# In: the settings, the policy source, Envoy's reference configuration (/etc/aegis), $POLICY_VERSION, $BUNDLES_URL.
# Out: keys and trust.json (made once), the signed policy version (made active), and in /var/lib/aegis-prepared
# the configurations of OPA and Envoy. A policy that was edited needs another $POLICY_VERSION.
set -eu

settings=/etc/aegis/aegis.yaml
state=/var/lib/aegis
policy=/var/lib/aegis-policy
prepared=/var/lib/aegis-prepared

aegis keys generate --config "$settings"
if [ ! -e "$state/trust.json" ]; then
    aegis keys export-trust --config "$settings" >"$state/.trust.json"
    mv "$state/.trust.json" "$state/trust.json"
fi

aegis policy publish /etc/aegis/rego --version "$POLICY_VERSION" --why deployment --state "$policy"
aegis policy activate "$POLICY_VERSION" --why deployment --state "$policy"
aegis policy opa-config "$BUNDLES_URL" --state "$policy" >"$prepared/.opa.json"
mv "$prepared/.opa.json" "$prepared/opa.json"

# In a container of its own Envoy is reached from others; all else stays as the reference has it.
sed 's/{address: 127\.0\.0\.1, port_value: 10000}/{address: 0.0.0.0, port_value: 10000}/' \
    /etc/aegis/gateway.yaml >"$prepared/.envoy.yaml"
grep -q 'address: 0\.0\.0\.0, port_value: 10000' "$prepared/.envoy.yaml"
mv "$prepared/.envoy.yaml" "$prepared/envoy.yaml"
