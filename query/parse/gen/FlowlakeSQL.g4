/*
 * The SQL of Flowlake: what Postgres clients write, less what a telemetry
 * store has no use for. Package parse turns the tree into package ast.
 *
 * Every choice below is made by one or two tokens (a few by the end of a
 * dotted name), so SLL prediction is exact:
 *  - A query inside parentheses of an expression or of FROM starts with a
 *    keyword. `((SELECT 1) UNION ...)` is an expression or a table followed by
 *    a queryTail; the builder looks at what it was.
 *  - `value` is a flat list of operands and operators; the builder applies
 *    precedence. That keeps the ladder at six rules and chains iterative.
 *  - Words that continue an expression (clauseWord) are names everywhere but
 *    as an alias without AS.
 * Two texts have two readings, and the first alternative is the one meant:
 * UNBOUNDED PRECEDING in a frame, and a unit behind INTERVAL '5'.
 * A word that is not in nonReserved is reserved: ast.IsReserved says the same.
 */
grammar FlowlakeSQL;

options { caseInsensitive = true; }

// ---- entry points ----

script : statement? ( SEMICOLON statement? )* EOF ;

expression : expr EOF ;

statement
    : query
    | explain
    | show
    | describe
    | set
    | transaction
    | CHECKPOINT
    | createRollup
    | dropRollup
    | alterTable
    ;

// ---- queries ----

query : with? queryTerm queryTail ;

// A query that no parenthesis starts.
subquery : with queryTerm queryTail | simpleTerm queryTail ;

queryTail : ( setOperator queryTerm )* orderBy? limitPart* ;

setOperator : ( UNION | EXCEPT | INTERSECT ) ( ALL | DISTINCT )? ;

queryTerm : simpleTerm | LPAREN query RPAREN ;

simpleTerm : select | values | TABLE qualifiedName ;

with : WITH RECURSIVE? cte ( COMMA cte )* ;

cte : identifier columnNames? AS ( NOT? MATERIALIZED )? LPAREN query RPAREN ;

columnNames : LPAREN identifier ( COMMA identifier )* RPAREN ;

values : VALUES valuesRow ( COMMA valuesRow )* ;

valuesRow : LPAREN expr ( COMMA expr )* RPAREN ;

select
    : SELECT ( ALL | DISTINCT )? selectItem ( COMMA selectItem )*
      ( FROM tableRef ( COMMA tableRef )* )?
      ( WHERE where=expr )?
      ( GROUP BY groupBy+=expr ( COMMA groupBy+=expr )* )?
      ( HAVING having=expr )?
    ;

selectItem : STAR | expr ( AS columnLabel | bareAlias )? ;

orderBy : ORDER BY sortItem ( COMMA sortItem )* ;

sortItem : expr ( ASC | DESC )? ( NULLS ( FIRST | LAST ) )? ;

limitPart
    : LIMIT ( ALL | expr )
    | OFFSET expr ( ROW | ROWS )?
    | FETCH ( FIRST | NEXT ) expr? ( ROW | ROWS ) ONLY
    ;

// ---- FROM ----

tableRef : tablePrimary join* ;

tablePrimary
    : qualifiedName ( LPAREN callArgs RPAREN ( WITH ORDINALITY )? )? alias?
    | LPAREN subquery RPAREN alias?
    | LPAREN tableRef queryTail RPAREN alias?
    ;

alias : ( AS identifier | bareAlias ) columnNames? ;

join
    : CROSS JOIN tablePrimary
    | NATURAL joinSide? JOIN tablePrimary
    | ASOF? joinSide? JOIN tablePrimary ( ON expr | USING columnNames )
    ;

joinSide : INNER | ( LEFT | RIGHT | FULL ) OUTER? ;

// ---- expressions, loosest first ----

expr : andExpr ( OR andExpr )* ;

andExpr : NOT* predicate ( AND NOT* predicate )* ;

predicate : value predicateTail* ;

predicateTail
    : compareOp value
    | compareOp ( ANY | SOME | ALL ) LPAREN ( subquery | expr queryTail ) RPAREN
    | NOT? BETWEEN SYMMETRIC? value AND value
    | NOT? IN LPAREN ( subquery | expr ( COMMA expr )* queryTail ) RPAREN
    | NOT? ( LIKE | ILIKE ) value ( ESCAPE value )?
    | IS NOT? ( NULL | TRUE | FALSE | UNKNOWN )
    | IS NOT? DISTINCT FROM value
    ;

compareOp : EQ | NE | LT | LE | GT | GE ;

value : term ( binaryOp term )* ;

binaryOp
    : PLUS | MINUS | STAR | SLASH | PERCENT | CARET | CONCAT
    | TILDE | TILDE_STAR | NOT_TILDE | NOT_TILDE_STAR | EQ_TILDE
    | AMP | PIPE | HASH | LSHIFT | LSHIFT_EQ | RSHIFT | RSHIFT_EQ | GET | GET_TEXT
    | OPERATOR LPAREN ( identifier DOT )?
      ( compareOp | PLUS | MINUS | STAR | SLASH | PERCENT | CARET | CONCAT
      | TILDE | TILDE_STAR | NOT_TILDE | NOT_TILDE_STAR ) RPAREN
    ;

term : ( PLUS | MINUS )* primary postfix* ;

postfix
    : LBRACKET expr RBRACKET
    | CAST_OP typeName
    | AT TIME ZONE primary
    | COLLATE qualifiedName
    ;

primary
    : INTEGER
    | DECIMAL
    | STRING
    | ESCAPE_STRING
    | TRUE
    | FALSE
    | NULL
    | PARAM
    // a column, t.*, a typed literal such as inet '::1', or a call
    | qualifiedName ( DOT STAR | STRING intervalUnit? | LPAREN callArgs RPAREN callTail )?
    | ( TIMESTAMP | TIME ) ( WITH | WITHOUT ) TIME ZONE STRING
    | ( LEFT | RIGHT ) LPAREN callArgs RPAREN callTail
    | LPAREN subquery RPAREN
    | LPAREN expr ( COMMA expr )* queryTail RPAREN
    | ROW LPAREN ( expr ( COMMA expr )* )? RPAREN
    | ARRAY LBRACKET ( expr ( COMMA expr )* )? RBRACKET
    | EXISTS LPAREN query RPAREN
    | CASE operand=expr? when+ ( ELSE otherwise=expr )? END
    | ( CAST | TRY_CAST ) LPAREN expr AS typeName RPAREN
    | EXTRACT LPAREN ( identifier | STRING ) FROM expr RPAREN
    ;

when : WHEN expr THEN expr ;

intervalUnit : YEAR | MONTH | DAY | HOUR | MINUTE | SECOND ;

callArgs
    : STAR
    | ( ( ALL | DISTINCT )? arg ( COMMA arg )* ( FROM expr ( FOR expr )? )? orderBy? )?
    ;

arg : identifier ARROW expr | expr ;

callTail
    : ( WITHIN GROUP LPAREN orderBy RPAREN )?
      ( FILTER LPAREN WHERE expr RPAREN )?
      ( OVER LPAREN windowSpec RPAREN )?
    ;

windowSpec
    : ( PARTITION BY expr ( COMMA expr )* )? orderBy?
      ( ( ROWS | RANGE | GROUPS ) ( frameBound | BETWEEN frameBound AND frameBound ) )?
    ;

frameBound
    : UNBOUNDED ( PRECEDING | FOLLOWING )
    | CURRENT ROW
    | value ( PRECEDING | FOLLOWING )
    ;

typeName : baseType ( LBRACKET RBRACKET )* ;

baseType
    : ( TIMESTAMP | TIME ) ( LPAREN INTEGER RPAREN )? ( WITH | WITHOUT ) TIME ZONE
    | DOUBLE PRECISION
    | CHARACTER VARYING ( LPAREN INTEGER RPAREN )?
    | qualifiedName ( LPAREN typeArg ( COMMA typeArg )* RPAREN )?
    ;

typeArg : INTEGER | typeName ;

// ---- other statements ----

explain : EXPLAIN ( LPAREN explainOption ( COMMA explainOption )* RPAREN | ANALYZE? VERBOSE? ) query ;

explainOption : identifier ( identifier | TRUE | FALSE | ON | INTEGER )? ;

describe : ( DESCRIBE | DESC ) ( qualifiedName | query ) ;

show
    : SHOW ( TABLES | SETTINGS | ALL | FUNCTIONS ) showFilter
    | SHOW COLUMNS ( FROM | IN ) qualifiedName showFilter
    | SHOW TAG KEYS ( FROM | IN ) qualifiedName showFilter
    | SHOW TAG VALUES ( FROM | IN ) qualifiedName KEY showKey showFilter
    | SHOW TAG CARDINALITY showFilter
    | SHOW ( ROLLUPS | RETENTION ) showFilter
    | SHOW CREATE ROLLUP qualifiedName
    | SHOW TRANSACTION ISOLATION LEVEL
    | SHOW TIME ZONE
    | SHOW settingName
    ;

settingName : ( IDENT | QUOTED_IDENT | ROLLUP ) ( DOT columnLabel )* ;

showKey : ( STRING | qualifiedName ) ( LBRACKET expr RBRACKET )? ;

showFilter : ( ( LIKE | ILIKE ) ( STRING | ESCAPE_STRING ) )? ( WHERE where=expr )? ( LIMIT limit=expr )? ;

createRollup
    : CREATE ROLLUP ( IF NOT EXISTS )? name=qualifiedName ON table=qualifiedName EVERY duration
      GROUP BY rollupKey ( COMMA rollupKey )* ( KEEP ( FOREVER | duration ) )?
    ;

// a column, or a key of a tag set
rollupKey : qualifiedName ( LBRACKET ( STRING | ESCAPE_STRING ) RBRACKET )? ;

dropRollup : DROP ROLLUP ( IF EXISTS )? qualifiedName ;

alterTable : ALTER TABLE qualifiedName SET RETENTION ( FOREVER | duration ) ;

// 5 minutes, '5 minutes', INTERVAL '5 minutes', INTERVAL '5' MINUTE
duration : INTEGER identifier | ( STRING | ESCAPE_STRING ) | identifier STRING intervalUnit? ;

set
    : SET ( SESSION | LOCAL )? TIME ZONE setValue
    | SET ( SESSION | LOCAL )? qualifiedName ( EQ | TO ) setValue ( COMMA setValue )*
    | SET ( SESSION CHARACTERISTICS AS )? TRANSACTION transactionMode ( COMMA? transactionMode )*
    | RESET ( ALL | TIME ZONE | qualifiedName )
    ;

setValue : ( PLUS | MINUS )? ( INTEGER | DECIMAL ) | STRING | ESCAPE_STRING | TRUE | FALSE | ON | DEFAULT | identifier ;

transaction
    : BEGIN ( TRANSACTION | WORK )? ( transactionMode ( COMMA? transactionMode )* )?
    | START TRANSACTION ( transactionMode ( COMMA? transactionMode )* )?
    | ( COMMIT | END ) ( TRANSACTION | WORK )?
    | ( ROLLBACK | ABORT ) ( TRANSACTION | WORK )?
    ;

transactionMode
    : ISOLATION LEVEL ( SERIALIZABLE | REPEATABLE READ | READ COMMITTED | READ UNCOMMITTED )
    | READ ( ONLY | WRITE )
    | NOT? DEFERRABLE
    ;

// ---- names ----

// The plain words stand here again, to spare a rule for each.
qualifiedName : ( IDENT | QUOTED_IDENT | nonReserved ) ( DOT ( IDENT | QUOTED_IDENT | nonReserved | reservedWord ) )* ;

identifier : IDENT | QUOTED_IDENT | nonReserved ;

nonReserved : plainWord | clauseWord ;

bareAlias : IDENT | QUOTED_IDENT | plainWord ;

columnLabel : IDENT | QUOTED_IDENT | nonReserved | reservedWord ;

plainWord
    : ABORT | ALTER | ANALYZE | BEGIN | BY | CARDINALITY | CHARACTER | CHARACTERISTICS | CHECKPOINT | COLUMNS
    | COMMIT | COMMITTED | CREATE | CURRENT | DAY | DEFERRABLE | DESCRIBE | DOUBLE | DROP | EVERY
    | EXPLAIN | FIRST | FOLLOWING | FOREVER | FUNCTIONS | GROUPS | HOUR | IF | ISOLATION | KEEP
    | KEY | KEYS | LAST | LEVEL | LOCAL | MATERIALIZED | MINUTE | MONTH | NEXT | NULLS | ONLY
    | ORDINALITY | OUTER | PARTITION | PRECEDING | RANGE | READ | RECURSIVE | REPEATABLE | RESET
    | RETENTION | ROLLBACK | ROLLUP | ROLLUPS | ROWS | SECOND | SERIALIZABLE | SESSION | SET
    | SETTINGS | SHOW | START | TABLES | TAG | TIME | TIMESTAMP | TO | TRANSACTION | UNBOUNDED
    | UNCOMMITTED | UNKNOWN | VERBOSE | WORK | WRITE | YEAR | ZONE
    ;

clauseWord : AT | ESCAPE | FILTER | OPERATOR | OVER | PRECISION | VARYING | WITHIN | WITHOUT ;

reservedWord
    : ALL | AND | ANY | ARRAY | AS | ASC | ASOF | BETWEEN | CASE | CAST | COLLATE | CROSS | DEFAULT
    | DESC | DISTINCT | ELSE | END | EXCEPT | EXISTS | EXTRACT | FALSE | FETCH | FOR | FROM | FULL
    | GROUP | HAVING | ILIKE | IN | INNER | INTERSECT | INTO | IS | JOIN | LATERAL | LEFT | LIKE
    | LIMIT | NATURAL | NOT | NULL | OFFSET | ON | OR | ORDER | RIGHT | ROW | SELECT | SOME
    | SYMMETRIC | TABLE | THEN | TRUE | TRY_CAST | UNION | USING | VALUES | WHEN | WHERE | WINDOW | WITH
    ;

// ---- words ----

ABORT : 'ABORT' ;
ALL : 'ALL' ;
ALTER : 'ALTER' ;
ANALYZE : 'ANALYZE' | 'ANALYSE' ;
AND : 'AND' ;
ANY : 'ANY' ;
ARRAY : 'ARRAY' ;
AS : 'AS' ;
ASC : 'ASC' ;
ASOF : 'ASOF' ;
AT : 'AT' ;
BEGIN : 'BEGIN' ;
BETWEEN : 'BETWEEN' ;
BY : 'BY' ;
CARDINALITY : 'CARDINALITY' ;
CASE : 'CASE' ;
CAST : 'CAST' ;
CHARACTER : 'CHARACTER' ;
CHARACTERISTICS : 'CHARACTERISTICS' ;
CHECKPOINT : 'CHECKPOINT' ;
COLLATE : 'COLLATE' ;
COLUMNS : 'COLUMNS' ;
COMMIT : 'COMMIT' ;
COMMITTED : 'COMMITTED' ;
CREATE : 'CREATE' ;
CROSS : 'CROSS' ;
CURRENT : 'CURRENT' ;
DAY : 'DAY' ;
DEFAULT : 'DEFAULT' ;
DEFERRABLE : 'DEFERRABLE' ;
DESC : 'DESC' ;
DESCRIBE : 'DESCRIBE' ;
DISTINCT : 'DISTINCT' ;
DOUBLE : 'DOUBLE' ;
DROP : 'DROP' ;
ELSE : 'ELSE' ;
END : 'END' ;
ESCAPE : 'ESCAPE' ;
EVERY : 'EVERY' ;
EXCEPT : 'EXCEPT' ;
EXISTS : 'EXISTS' ;
EXPLAIN : 'EXPLAIN' ;
EXTRACT : 'EXTRACT' ;
FALSE : 'FALSE' ;
FETCH : 'FETCH' ;
FILTER : 'FILTER' ;
FIRST : 'FIRST' ;
FOLLOWING : 'FOLLOWING' ;
FOR : 'FOR' ;
FOREVER : 'FOREVER' ;
FROM : 'FROM' ;
FULL : 'FULL' ;
FUNCTIONS : 'FUNCTIONS' ;
GROUP : 'GROUP' ;
GROUPS : 'GROUPS' ;
HAVING : 'HAVING' ;
HOUR : 'HOUR' ;
IF : 'IF' ;
ILIKE : 'ILIKE' ;
IN : 'IN' ;
INNER : 'INNER' ;
INTERSECT : 'INTERSECT' ;
INTO : 'INTO' ;
IS : 'IS' ;
ISOLATION : 'ISOLATION' ;
JOIN : 'JOIN' ;
KEEP : 'KEEP' ;
KEY : 'KEY' ;
KEYS : 'KEYS' ;
LAST : 'LAST' ;
LATERAL : 'LATERAL' ;
LEFT : 'LEFT' ;
LEVEL : 'LEVEL' ;
LIKE : 'LIKE' ;
LIMIT : 'LIMIT' ;
LOCAL : 'LOCAL' ;
MATERIALIZED : 'MATERIALIZED' ;
MINUTE : 'MINUTE' ;
MONTH : 'MONTH' ;
NATURAL : 'NATURAL' ;
NEXT : 'NEXT' ;
NOT : 'NOT' ;
NULL : 'NULL' ;
NULLS : 'NULLS' ;
OFFSET : 'OFFSET' ;
ON : 'ON' ;
ONLY : 'ONLY' ;
OPERATOR : 'OPERATOR' ;
OR : 'OR' ;
ORDER : 'ORDER' ;
ORDINALITY : 'ORDINALITY' ;
OUTER : 'OUTER' ;
OVER : 'OVER' ;
PARTITION : 'PARTITION' ;
PRECEDING : 'PRECEDING' ;
PRECISION : 'PRECISION' ;
RANGE : 'RANGE' ;
READ : 'READ' ;
RECURSIVE : 'RECURSIVE' ;
REPEATABLE : 'REPEATABLE' ;
RESET : 'RESET' ;
RETENTION : 'RETENTION' ;
RIGHT : 'RIGHT' ;
ROLLBACK : 'ROLLBACK' ;
ROLLUP : 'ROLLUP' ;
ROLLUPS : 'ROLLUPS' ;
ROW : 'ROW' ;
ROWS : 'ROWS' ;
SECOND : 'SECOND' ;
SELECT : 'SELECT' ;
SERIALIZABLE : 'SERIALIZABLE' ;
SESSION : 'SESSION' ;
SET : 'SET' ;
SETTINGS : 'SETTINGS' ;
SHOW : 'SHOW' ;
SOME : 'SOME' ;
START : 'START' ;
SYMMETRIC : 'SYMMETRIC' ;
TABLE : 'TABLE' ;
TABLES : 'TABLES' ;
TAG : 'TAG' ;
THEN : 'THEN' ;
TIME : 'TIME' ;
TIMESTAMP : 'TIMESTAMP' ;
TO : 'TO' ;
TRANSACTION : 'TRANSACTION' ;
TRUE : 'TRUE' ;
TRY_CAST : 'TRY_CAST' ;
UNBOUNDED : 'UNBOUNDED' ;
UNCOMMITTED : 'UNCOMMITTED' ;
UNION : 'UNION' ;
UNKNOWN : 'UNKNOWN' ;
USING : 'USING' ;
VALUES : 'VALUES' ;
VARYING : 'VARYING' ;
VERBOSE : 'VERBOSE' ;
WHEN : 'WHEN' ;
WHERE : 'WHERE' ;
WINDOW : 'WINDOW' ;
WITH : 'WITH' ;
WITHIN : 'WITHIN' ;
WITHOUT : 'WITHOUT' ;
WORK : 'WORK' ;
WRITE : 'WRITE' ;
YEAR : 'YEAR' ;
ZONE : 'ZONE' ;

// ---- signs ----

LPAREN : '(' ;
RPAREN : ')' ;
LBRACKET : '[' ;
RBRACKET : ']' ;
COMMA : ',' ;
DOT : '.' ;
SEMICOLON : ';' ;
STAR : '*' ;
PLUS : '+' ;
MINUS : '-' ;
SLASH : '/' ;
PERCENT : '%' ;
CARET : '^' ;
CONCAT : '||' ;
EQ : '=' ;
NE : '<>' | '!=' ;
LT : '<' ;
LE : '<=' ;
GT : '>' ;
GE : '>=' ;
TILDE : '~' ;
TILDE_STAR : '~*' ;
NOT_TILDE : '!~' ;
NOT_TILDE_STAR : '!~*' ;
EQ_TILDE : '=~' ;
AMP : '&' ;
PIPE : '|' ;
HASH : '#' ;
LSHIFT : '<<' ;
LSHIFT_EQ : '<<=' ;
RSHIFT : '>>' ;
RSHIFT_EQ : '>>=' ;
GET : '->' ;
GET_TEXT : '->>' ;
ARROW : '=>' ;
CAST_OP : '::' ;
PARAM : '$' DIGIT+ ;

// ---- literals and names ----

INTEGER : DIGIT+ ( '_' DIGIT+ )* | '0X' [0-9A-F]+ ;

DECIMAL
    : DIGIT+ ( '_' DIGIT+ )* '.' ( DIGIT+ ( '_' DIGIT+ )* )? EXPONENT?
    | '.' DIGIT+ ( '_' DIGIT+ )* EXPONENT?
    | DIGIT+ ( '_' DIGIT+ )* EXPONENT
    ;

STRING : '\'' ( ~'\'' | '\'\'' )* '\'' ;

ESCAPE_STRING : 'E\'' ( ~['\\] | '\'\'' | '\\' . )* '\'' ;

QUOTED_IDENT : '"' ( ~'"' | '""' )* '"' ;

IDENT : LETTER ( LETTER | DIGIT | '$' )* ;

// ---- what is never right; a token each, so that the error can say why ----

BAD_NUMBER : ( DIGIT+ ( '_' DIGIT+ )* | DIGIT+ '.' DIGIT+ | '0X' ) ( LETTER ( LETTER | DIGIT | '$' )* ) ;
OPEN_STRING : '\'' ( ~'\'' | '\'\'' )* ;
OPEN_ESCAPE_STRING : 'E\'' ( ~['\\] | '\'\'' | '\\' . )* '\\'? ;
OPEN_IDENT : '"' ( ~'"' | '""' )* ;
OPEN_COMMENT : '/*' ( ~'*' | '*'+ ~[*/] )* '*'* ;
EQ_EQ : '==' ;
AND_AND : '&&' ;
QUESTION : '?' ;

LINE_COMMENT : '--' ~[\r\n]* -> skip ;
BLOCK_COMMENT : '/*' ( ~'*' | '*'+ ~[*/] )* '*'+ '/' -> skip ;
SPACE : [ \t\r\n\f\u000B\u00A0\uFEFF\u200B\u2028\u2029\u3000]+ -> skip ;

OTHER : . ;

fragment DIGIT : [0-9] ;
fragment EXPONENT : 'E' [+-]? DIGIT+ ;
fragment LETTER : [\p{L}_] ;
