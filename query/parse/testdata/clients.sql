-- What psql, Grafana, drivers and dashboards send, in their style.
SELECT version();
SELECT 1 AS "value";
SELECT pg_catalog.current_setting('server_version_num')::int/100 as version;
SELECT n.nspname as "Schema",
  c.relname as "Name",
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' END as "Type",
  pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
FROM pg_catalog.pg_class c
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r','p','')
      AND n.nspname <> 'pg_catalog'
      AND n.nspname !~ '^pg_toast'
      AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1,2;
SELECT c.oid, n.nspname, c.relname
FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.~) '^(flows)$' COLLATE pg_catalog.default
  AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 2, 3;
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
  (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
  a.attnotnull
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = '16384' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
SELECT CASE WHEN quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
  FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
  string_to_array(current_setting('search_path'),',') s)
  THEN quote_ident(table_name) ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
FROM information_schema.tables
WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache')
ORDER BY 1;
SELECT extversion FROM pg_extension WHERE extname='timescaledb';
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE quote_ident(table_name) = 'flows';
SELECT floor(extract(epoch from time)/60)*60 AS "time", avg(value) AS "value" FROM metrics."up" WHERE time BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-01T06:00:00Z' GROUP BY 1 ORDER BY 1;
SELECT time_bucket('60.000s',"time") AS "time", server.service AS metric, percentile_cont(0.99) WITHIN GROUP (ORDER BY rrt_us) AS p99 FROM application WHERE "time" BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-01T06:00:00Z' GROUP BY 1, 2 ORDER BY 1;
SELECT to_timestamp(1767225600), pg_typeof(1), 'a'::name, NULL::text, ''::unknown;
SELECT t.oid, t.typname, t.typtype = 'b' AS base FROM pg_type t WHERE t.typname = ANY($1) OR t.oid = ANY($2::oid[]);
SELECT set_config('search_path', 'public', false), pg_is_in_recovery(), current_database(), current_schema();
SELECT DISTINCT ON_TIME FROM t;
SELECT SUM("t0"."bytes_tx") AS "sum", DATE_TRUNC('hour', "t0"."time") AS "h" FROM "public"."flows" AS "t0" WHERE ("t0"."time" >= TIMESTAMP '2026-01-01 00:00:00.000000') GROUP BY DATE_TRUNC('hour', "t0"."time") LIMIT 1001;
SELECT "source"."status" AS "status", COUNT(*) AS "count" FROM (SELECT "flows"."status" AS "status" FROM "flows") AS "source" GROUP BY "source"."status" ORDER BY "source"."status" ASC;
