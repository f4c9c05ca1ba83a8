package redis

import "strings"

// form says what of a command may be shown: its keys and fixed words, not the values.
type form uint8

const (
	formKey      form = iota // the first word behind the name is a key, the others are values
	formKeys                 // all are keys, channels or patterns
	formNone                 // none is shown
	formPairs                // key, value, key, value
	formButLast              // all but the last are keys
	formFirstTwo             // two keys, then values
	formSecond               // the second one is a key, the first a fixed word
	formSub                  // a fixed word
	formSubTwo               // a fixed word and what it is about
	formNum1                 // number of keys, the keys
	formNum2                 // something, number of keys, the keys
	formKeyNum               // key, number of keys, the keys
	formStreams              // the keys stand behind the word STREAMS, followed by as many ids
)

// forms are the commands that the package knows, by form.
var forms = map[form]string{
	formKey: `APPEND BITCOUNT BITFIELD BITFIELD_RO BITPOS BZPOPMIN BZPOPMAX DECR DECRBY DUMP EXPIRE EXPIREAT EXPIRETIME GEOADD GEODIST
		GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUS_RO GEORADIUSBYMEMBER_RO GEOSEARCH GET GETBIT GETDEL GETEX GETRANGE
		GETSET HDEL HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET
		HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS INCR INCRBY
		INCRBYFLOAT LINDEX LINSERT LLEN LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM MOVE PERSIST PEXPIRE PEXPIREAT PEXPIRETIME
		PFADD PSETEX PTTL PUBLISH RESTORE RESTORE-ASKING RPOP RPUSH RPUSHX SADD SCARD SET SETBIT SETEX SETNX SETRANGE SISMEMBER
		SMEMBERS SMISMEMBER SORT SORT_RO SPOP SPUBLISH SRANDMEMBER SREM SSCAN STRLEN SUBSTR TTL TYPE VADD VCARD VDIM VEMB VGETATTR
		VINFO VLINKS VRANDMEMBER VREM VSETATTR VSIM XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL XDELEX XLEN XPENDING XRANGE XREVRANGE
		XSETID XTRIM ZADD ZCARD ZCOUNT ZINCRBY ZLEXCOUNT ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK
		ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE
		SELECT DELEX DIGEST MSETEX`,
	formKeys: `DEL EXISTS KEYS MGET PFCOUNT PFMERGE PSUBSCRIBE PUNSUBSCRIBE RENAME RENAMENX RPOPLPUSH SDIFF SDIFFSTORE SINTER
		SINTERSTORE SSUBSCRIBE SUBSCRIBE SUNION SUNIONSTORE SUNSUBSCRIBE TOUCH UNLINK UNSUBSCRIBE WATCH LOLWUT FLUSHALL FLUSHDB
		SHUTDOWN FAILOVER INFO REPLICAOF SLAVEOF ROLE TIME MULTI EXEC DISCARD UNWATCH DBSIZE LASTSAVE SAVE BGSAVE BGREWRITEAOF
		ASKING READONLY READWRITE QUIT RESET RANDOMKEY SYNC PSYNC MONITOR WAIT WAITAOF SWAPDB`,
	formNone:     `AUTH ECHO MIGRATE PING SCAN REPLCONF PFDEBUG PFSELFTEST`,
	formPairs:    `MSET MSETNX`,
	formButLast:  `BLPOP BRPOP BRPOPLPUSH`,
	formFirstTwo: `BLMOVE COPY GEOSEARCHSTORE LCS LMOVE SMOVE ZRANGESTORE`,
	formSecond:   `BITOP DEBUG MEMORY OBJECT XGROUP XINFO`,
	formSub:      `ACL CLIENT CLUSTER COMMAND FUNCTION HELLO LATENCY MODULE PUBSUB SCRIPT SENTINEL SLOWLOG`,
	formSubTwo:   `CONFIG`,
	formNum1:     `LMPOP SINTERCARD ZDIFF ZINTER ZINTERCARD ZMPOP ZUNION`,
	formNum2:     `BLMPOP BZMPOP EVAL EVALSHA EVALSHA_RO EVAL_RO FCALL FCALL_RO`,
	formKeyNum:   `ZDIFFSTORE ZINTERSTORE ZUNIONSTORE`,
	formStreams:  `XREAD XREADGROUP`,
}

var commands = func() map[string]form {
	all := make(map[string]form, 300)
	for f, names := range forms {
		for name := range strings.FieldsSeq(names) {
			all[name] = f
		}
	}
	return all
}()

// lookup finds a command by its name in any case.
func lookup(name []byte) (f form, ok bool) {
	var upper [maxCommand]byte
	if len(name) == 0 || len(name) > len(upper) {
		return 0, false
	}
	for i, c := range name {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	f, ok = commands[string(upper[:len(name)])]
	return f, ok
}

// Known says whether name is a command of the server, modules apart.
func Known(name []byte) bool {
	_, ok := lookup(name)
	return ok
}

// HasSub says whether the first word behind the name is a part of it, as in CONFIG GET.
func HasSub(name []byte) bool {
	f, ok := lookup(name)
	return ok && (f == formSub || f == formSubTwo || f == formSecond && !equalFold(name, "BITOP")) && !equalFold(name, "HELLO")
}

// Secret says whether the command carries passwords.
func (c *Command) Secret() bool {
	switch {
	case c.Is(0, "AUTH"), c.Is(0, "HELLO"), c.Is(0, "MIGRATE"):
		return true
	case c.Is(0, "CONFIG"):
		return c.Is(1, "SET")
	case c.Is(0, "ACL"):
		return c.Is(1, "SETUSER")
	case c.Is(0, "SENTINEL"):
		return c.Is(1, "SET") || c.Is(1, "CONFIG")
	}
	return false
}

// AppendText appends the words of the command with spaces between, until dst is limit bytes long. Unless literals are
// wanted, and in any case where they are passwords, each run of words that are neither keys nor fixed becomes a question
// mark.
func (c *Command) AppendText(dst []byte, literals bool, limit int) []byte {
	literals = literals && !c.Secret()
	var keys keyRange
	if !literals {
		keys = c.keys()
	}
	hidden := false
	for i := 0; i < c.Len && len(dst) < limit; i++ {
		if i > 0 && !literals && !keys.has(i) {
			if !hidden {
				dst = append(dst, " ?"...)
			}
			hidden = true
			continue
		}
		hidden = false
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, c.Args[i][:min(len(c.Args[i]), limit)]...)
	}
	if c.Count > c.Len && !hidden && len(dst) < limit {
		dst = append(dst, " ?"...)
	}
	return dst[:min(len(dst), max(limit, 0))]
}

// keyRange are the words that may be shown: the first fixed ones, and each step-th of from..to.
type keyRange struct{ fixed, from, to, step int }

func (k keyRange) has(i int) bool {
	return i <= k.fixed || i >= k.from && i < k.to && (i-k.from)%k.step == 0
}

// keys finds the words of the command that may be shown.
func (c *Command) keys() keyRange {
	f, _ := lookup(c.Args[0]) // of a module's command the first word is most often a key
	switch f {
	case formKeys:
		return keyRange{0, 1, c.Len, 1}
	case formNone:
		return keyRange{0, 0, 0, 1}
	case formPairs:
		return keyRange{0, 1, c.Len, 2}
	case formButLast:
		return keyRange{0, 1, c.Count - 1, 1}
	case formFirstTwo, formSecond, formSubTwo:
		return keyRange{2, 0, 0, 1}
	case formNum1:
		return c.counted(1, 0)
	case formNum2:
		if c.Is(0, "EVAL") || c.Is(0, "EVAL_RO") || c.Is(0, "BLMPOP") || c.Is(0, "BZMPOP") { // a script, a time
			return c.counted(2, 0)
		}
		return c.counted(2, 1)
	case formKeyNum:
		return c.counted(2, 1)
	case formStreams:
		for i := 1; i < c.Len; i++ {
			if c.Is(i, "STREAMS") {
				return keyRange{0, i, i + 1 + (c.Count-i-1)/2, 1}
			}
		}
		return keyRange{0, 0, 0, 1}
	}
	return keyRange{1, 0, 0, 1}
}

// counted are as many keys as the word with the number at says, which follow it, and the first fixed words.
func (c *Command) counted(at, fixed int) keyRange {
	n := 0
	if at < c.Len {
		for _, d := range c.Args[at] {
			if d < '0' || d > '9' || n > maxWords {
				return keyRange{fixed, 0, 0, 1}
			}
			n = n*10 + int(d-'0')
		}
	}
	return keyRange{fixed, at, min(at+1+n, c.Count), 1}
}
