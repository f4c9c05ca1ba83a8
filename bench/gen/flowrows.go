package gen

import (
	"encoding/hex"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// TCP flags, as in a header.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// render makes batches of reports. It is kept for its memory.
type render struct {
	known coder
	// of each row of the batch in hand
	requests []int64
}

// flows makes a batch of reports.
func (w *render) flows(r *rnd, t *schema.Table, reps []report) *batch.Batch {
	c := newColumns(t, len(reps), 52)
	w.requests = w.requests[:0]
	for range reps {
		w.requests = append(w.requests, 0)
	}
	w.identity(c, reps)
	w.words(c, reps)
	w.traffic(c, r, reps)
	w.tcp(c, r, reps)
	w.delays(c, r, reps)
	return c.b
}

func (w *render) identity(c *columns, reps []report) {
	at, start, end, id, isNew := c.ints("time"), c.ints("start_time"), c.ints("end_time"), c.ints("flow_id"), c.ints("is_new")
	clientPort, serverPort, score := c.ints("client_port"), c.ints("server_port"), c.ints("direction_score")
	client, server := make([]uint32, len(reps)), make([]uint32, len(reps))
	for i := range reps {
		p := &reps[i]
		at[i], start[i], end[i], id[i] = p.at, p.start, p.last, int64(p.id)
		if !p.reported {
			isNew[i] = 1
		}
		clientPort[i], serverPort[i], score[i] = int64(p.port), appOf(int(p.service)).port, 255
		client[i], server[i] = p.client, p.server
	}
	c.set("client_tags", client, nil)
	c.set("server_tags", server, nil)
	ip := func(dst []byte, id uint64) []byte { a := podIP(uint32(id)); return append(dst, a[:]...) }
	c.text("client_ip", &w.known, func(i int) uint64 { return uint64(reps[i].client) }, ip)
	c.text("server_ip", &w.known, func(i int) uint64 { return uint64(reps[i].server) }, ip)
}

var (
	closeWords, statusWords = func() (how, status []string) {
		for i := range closings {
			how, status = append(how, closings[i].word), append(status, closings[i].status)
		}
		return how, status
	}()
	l7Words, protocolWords = func() (l7, protocol []string) {
		for i := range apps {
			l7, protocol = append(l7, apps[i].l7), append(protocol, apps[i].protocol)
		}
		return l7, protocol
	}()
)

// words makes the columns of text. Columns of few words may have one word for several keys: distinct folds them.
func (w *render) words(c *columns, reps []report) {
	how := func(i int) uint64 { return uint64(reps[i].how) }
	app := func(i int) uint64 { return uint64(int(reps[i].service) % len(apps)) }
	c.words("close_type", &w.known, distinct(how, closeWords), closeWords)
	c.words("status", &w.known, distinct(how, statusWords), statusWords)
	c.words("protocol", &w.known, distinct(app, protocolWords), protocolWords)
	c.words("l7_protocol", &w.known, distinct(app, l7Words), l7Words)
	zero := func(int) uint64 { return 0 }
	c.words("source", &w.known, zero, []string{"packet"})
	c.words("interface", &w.known, zero, []string{"eth0"})
	c.words("observation_point", &w.known, func(i int) uint64 {
		if reps[i].atClient {
			return 0
		}
		return 1
	}, []string{"c", "s"})
	c.text("agent", &w.known, func(i int) uint64 { return uint64(reps[i].agent) }, func(dst []byte, k uint64) []byte {
		return append(dst, nodeName(int(k))...)
	})
	// on the node's own side the MAC address is the pod's, on the other the router's
	mac := func(pod uint32, local bool, agent uint16) uint64 {
		if local {
			return uint64(pod)
		}
		return 1<<40 | uint64(agent)
	}
	c.text("client_mac", &w.known, func(i int) uint64 { return mac(reps[i].client, reps[i].atClient, reps[i].agent) }, appendMAC)
	c.text("server_mac", &w.known, func(i int) uint64 { return mac(reps[i].server, !reps[i].atClient, reps[i].agent) }, appendMAC)
}

// distinct gives all keys of one word the number of its first.
func distinct(key func(int) uint64, words []string) func(int) uint64 {
	first := make([]uint64, len(words))
	for i := range words {
		for words[first[i]] != words[i] {
			first[i]++
		}
	}
	return func(i int) uint64 { return first[key(i)] }
}

func appendMAC(dst []byte, key uint64) []byte {
	h := mix(key)
	for k := range 6 {
		b := byte(h >> (8 * k))
		if k == 0 {
			b = b&^1 | 2 // an address of one station, given by software
		} else {
			dst = append(dst, ':')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return dst
}

// traffic makes packets, bytes and requests. w.requests is how many exchanges a row tells of, parsed or not.
func (w *render) traffic(c *columns, r *rnd, reps []report) {
	packetsTx, packetsRx, bytesTx, bytesRx := c.ints("packets_tx"), c.ints("packets_rx"), c.ints("bytes_tx"), c.ints("bytes_rx")
	payloadTx, payloadRx := c.ints("payload_bytes_tx"), c.ints("payload_bytes_rx")
	request, response, clientError := c.ints("l7_request"), c.ints("l7_response"), c.ints("l7_client_error")
	serverError, timeout := c.ints("l7_server_error"), c.ints("l7_timeout")
	for i := range reps {
		p := &reps[i]
		how, a := &closings[p.how], appOf(int(p.service))
		if !p.active {
			continue
		}
		if !how.handshake && p.how != closedUDP { // it never came to data
			packetsTx[i], bytesTx[i] = 1+int64(r.below(3)), 74
			if how.rst {
				packetsRx[i], bytesRx[i] = 1, 60
			}
			bytesTx[i] *= packetsTx[i]
			continue
		}
		n := 1 + r.around(float64(p.perMinute))
		w.requests[i] = n
		sent, received := n*60+r.around(float64(n)*float64(p.size)/8), n*90+r.around(float64(n)*float64(p.size))
		packetsTx[i], packetsRx[i] = n+sent/1448+received/4344, n+received/1448+sent/4344
		header := int64(42)
		if a.protocol == "tcp" {
			header = 66
			packetsTx[i] += n / 2
			if !p.reported {
				packetsTx[i], packetsRx[i] = packetsTx[i]+2, packetsRx[i]+1
			}
			if p.how != forcedReport {
				packetsTx[i], packetsRx[i] = packetsTx[i]+2, packetsRx[i]+1
			}
		}
		payloadTx[i], payloadRx[i] = sent, received
		bytesTx[i], bytesRx[i] = sent+header*packetsTx[i], received+header*packetsRx[i]
		if a.l7 == "" {
			continue
		}
		request[i], response[i] = n, n
		switch x := r.below(1000); {
		case x < 20:
			clientError[i] = 1 + int64(r.below(int(n)))
		case x < 30:
			serverError[i] = 1 + int64(r.below(int(n)))
		case x < 32:
			response[i], timeout[i] = n-1, 1
		}
	}
}

// tcp makes what only TCP has: flags, handshakes and faults.
func (w *render) tcp(c *columns, r *rnd, reps []report) {
	flagsTx, flagsRx := c.ints("tcp_flags_tx"), c.ints("tcp_flags_rx")
	syn, synACK, fin, retransSYN := c.ints("syn_count"), c.ints("synack_count"), c.ints("fin_count"), c.ints("retrans_syn")
	retransTx, retransRx, oooRx, zeroRx := c.ints("retrans_tx"), c.ints("retrans_rx"), c.ints("ooo_rx"), c.ints("zero_window_rx")
	rtt, rttOK := c.nullable("rtt_us")
	rttClient, rttClientOK := c.nullable("rtt_client_us")
	rttServer, rttServerOK := c.nullable("rtt_server_us")
	tls, tlsOK := c.nullable("tls_rtt_us")
	for i := range reps {
		p := &reps[i]
		how, a := &closings[p.how], appOf(int(p.service))
		if !p.active || a.protocol != "tcp" {
			continue
		}
		if !how.handshake {
			flagsTx[i], syn[i] = flagSYN, 1
			if how.rst {
				flagsRx[i] = flagRST | flagACK
			} else {
				retransSYN[i] = int64(r.below(3))
				syn[i] += retransSYN[i]
			}
			continue
		}
		flagsTx[i], flagsRx[i] = flagPSH|flagACK, flagPSH|flagACK
		if !p.reported {
			flagsTx[i], flagsRx[i] = flagsTx[i]|flagSYN, flagsRx[i]|flagSYN
			syn[i], synACK[i] = 1, 1
			rttClient[i], rttServer[i] = 1+r.around(float64(p.rtt)/4), 1+r.around(float64(p.rtt))
			rtt[i] = rttClient[i] + rttServer[i]
			rttOK.Set(i)
			rttClientOK.Set(i)
			rttServerOK.Set(i)
			if a.tls {
				tls[i] = 500 + 2*r.around(float64(p.rtt))
				tlsOK.Set(i)
			}
		}
		switch {
		case how.rst:
			flagsTx[i] |= flagRST
		case p.how == firstClosing:
			flagsTx[i], flagsRx[i], fin[i] = flagsTx[i]|flagFIN, flagsRx[i]|flagFIN, 2
		case p.how > firstClosing:
			flagsTx[i], fin[i] = flagsTx[i]|flagFIN, 1
		}
		switch x := r.next(); {
		case x&63 == 0:
			retransTx[i], retransRx[i], oooRx[i] = 1+int64(x>>8&3), int64(x>>10&3), int64(x>>12&1)
		case x&511 == 1:
			zeroRx[i] = 1
		}
	}
}

// delays makes the times between packets, and between requests and responses.
func (w *render) delays(c *columns, r *rnd, reps []report) {
	srtSum, srtN, srtMax := c.ints("srt_sum_us"), c.ints("srt_count"), c.ints("srt_max_us")
	artSum, artN, artMax := c.ints("art_sum_us"), c.ints("art_count"), c.ints("art_max_us")
	citSum, citN, citMax := c.ints("cit_sum_us"), c.ints("cit_count"), c.ints("cit_max_us")
	rrtSum, rrtN, rrtMax := c.ints("rrt_sum_us"), c.ints("rrt_count"), c.ints("rrt_max_us")
	for i := range reps {
		p, n := &reps[i], w.requests[i]
		if n == 0 {
			continue
		}
		a := appOf(int(p.service))
		artN[i] = n
		artSum[i], artMax[i] = r.delays(n, 300+5*float64(p.rtt))
		if a.protocol == "tcp" {
			if srtN[i] = n / 2; srtN[i] > 0 {
				srtSum[i], srtMax[i] = r.delays(srtN[i], float64(p.rtt))
			}
			if citN[i] = n - 1; citN[i] > 0 {
				citSum[i], citMax[i] = r.delays(citN[i], 30e6/float64(p.perMinute))
			}
		}
		if a.l7 != "" {
			// the same as art where requests and responses are one packet each
			rrtSum[i], rrtN[i], rrtMax[i] = artSum[i], n, artMax[i]
			if p.size > 1400 {
				more := r.around(float64(p.rtt))
				rrtSum[i], rrtMax[i] = artSum[i]+n*more, artMax[i]+more
			}
		}
	}
}

// delays is the sum and the largest of n delays with the given mean, microseconds.
func (r *rnd) delays(n int64, mean float64) (sum, most int64) {
	most = 1 + r.around(mean)
	if n > 1 {
		sum = int64(float64(n-1) * mean * (0.7 + 0.6*r.unit()))
		most = max(most, sum/(n-1)+r.around(mean))
	}
	return sum + most, most
}
