#!/bin/sh
# Generates the lexer and parser from FlowlakeSQL.g4. Needs Java 11 or later and,
# the first time, Maven to fetch the tool, which is kept outside the repository.
set -eu
version=4.13.1
sha256=bc13a9c57a8dd7d5196888211e5ede657cb64a3ce968608697e4f668251a8487

cd "$(dirname "$0")"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/flowlake"
jar="$cache/antlr4-$version-complete.jar"
if [ ! -f "$jar" ]; then
	mkdir -p "$cache"
	mvn -q dependency:copy "-Dartifact=org.antlr:antlr4:$version:jar:complete" "-DoutputDirectory=$cache"
fi
echo "$sha256  $jar" | sha256sum -c - >/dev/null || {
	echo "generate.sh: $jar is not the pinned ANTLR tool; remove it and try again" >&2
	exit 1
}

out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
java -Xmx512m -cp "$jar" org.antlr.v4.Tool -Dlanguage=Go -package gen -no-listener -no-visitor \
	-Werror -o "$out" FlowlakeSQL.g4
gofmt -w "$out"/*.go
mv "$out/flowlakesql_lexer.go" flowlakesql_lexer.go
mv "$out/flowlakesql_parser.go" flowlakesql_parser.go
