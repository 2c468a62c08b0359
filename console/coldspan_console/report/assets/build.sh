#!/bin/sh
# build.sh   Makes echarts.js, the part of Apache ECharts that the report uses, from npm, and the manifest that a test
# holds it against. Needs node and npm; nobody else does: the result is in the repository.
set -eu
cd "$(dirname "$0")"
echarts=6.1.0 esbuild=0.28.2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp entry.js "$work"
(cd "$work" && npm install --silent --no-save "echarts@$echarts" "esbuild@$esbuild" &&
    npx esbuild entry.js --bundle --minify --format=iife --global-name=echarts --outfile=out.js --legal-comments=none --log-level=warning)
cp "$work/out.js" echarts.js
cp "$work/node_modules/echarts/LICENSE" echarts.LICENSE
printf '{"name": "echarts", "version": "%s", "source": "https://registry.npmjs.org/echarts", "bundler": "esbuild %s", "sha256": "%s"}\n' \
    "$echarts" "$esbuild" "$(sha256sum echarts.js | cut -d' ' -f1)" >manifest.json
