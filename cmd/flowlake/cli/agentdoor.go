package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/apache/arrow/go/v15/arrow/flight"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/flowlake/flowlake/ingest/wire"
)

// defaultGRPC is the address of the gRPC door.
const defaultGRPC = "127.0.0.1:7702"

// agentDoorFlags are the settings of the door that agents come through.
type agentDoorFlags struct {
	address           string
	asked             bool
	tlsCert, tlsKey   string
	tokenFile         string
	token             string // read
	transportSecurity credentials.TransportCredentials
}

func (f *agentDoorFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.address, "grpc", defaultGRPC, "address of the gRPC door, for agents; off closes it, port 0 takes any that is free")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "certificate of the gRPC door (PEM)")
	fl.StringVar(&f.tlsKey, "tls-key", "", "its key (PEM)")
	fl.StringVar(&f.tokenFile, "token-file", "", "agents have to present the token in this file")
}

// check reads the files that the flags name.
func (f *agentDoorFlags) check(flags *pflag.FlagSet, insecure bool) error {
	f.asked = flags.Lookup("grpc").Changed
	if f.address == "off" {
		return nil
	}
	host, _, err := net.SplitHostPort(f.address)
	if err != nil {
		return usagef("--grpc %q is not host:port or off", f.address)
	}
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return usagef("--tls-cert and --tls-key belong together")
	}
	if f.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
		if err != nil {
			return fmt.Errorf("--tls-cert %s: %w", f.tlsCert, err)
		}
		f.transportSecurity = credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	}
	if f.tokenFile != "" {
		if f.token, err = readToken(f.tokenFile); err != nil {
			return err
		}
	}
	if !isLoopback(host) && !insecure && (f.transportSecurity == nil || f.token == "") {
		return usagef("--grpc %s can be reached from other hosts: give --tls-cert, --tls-key and --token-file, "+
			"or say --insecure to let everybody in who reaches it", f.address)
	}
	return nil
}

// readToken reads the token that agents and server share.
func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("--token-file %s: it has to hold one word", file)
	}
	return token, nil
}

// listen opens the door. nil without an error is a door that stays closed.
func (f *agentDoorFlags) listen(log *slog.Logger) (net.Listener, error) {
	if f.address == "off" {
		return nil, nil
	}
	l, err := net.Listen("tcp", f.address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && !f.asked:
		log.Warn("the gRPC door stays closed: its default address is taken", "address", f.address, "hint", "--grpc ADDR opens it elsewhere")
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("open the gRPC door: %w", err)
	}
	return l, nil
}

// newGRPC makes the server behind the door.
func (f *agentDoorFlags) newGRPC(agents *wire.Server) *grpc.Server {
	opts := []grpc.ServerOption{grpc.MaxRecvMsgSize(wire.MaxMessageBytes)}
	if f.transportSecurity != nil {
		opts = append(opts, grpc.Creds(f.transportSecurity))
	}
	g := grpc.NewServer(opts...)
	flight.RegisterFlightServiceServer(g, agents)
	return g
}

func agentDoorCounters(m wire.ServerMetrics) []counter {
	c := &counts{stage: "agents"}
	c.now("connected", "agents that are connected now", float64(m.Connected))
	c.add("connects", "times that an agent has connected", float64(m.Calls))
	c.add("frames", "batches of agents stored", float64(m.Frames))
	c.add("rows", "rows of them", float64(m.Rows))
	c.add("bytes", "encoded bytes of them", float64(m.Bytes))
	c.add("doubled_frames", "batches that came again although they were stored, and were left out", float64(m.DoubledFrames))
	by(c, "refused_rows", "rows of agents not taken", map[string]uint64{"store": m.RefusedRow})
	by(c, "refused_frames", "batches of agents not taken", map[string]uint64{"bad_rows": m.RefusedFrames})
	by(c, "refused_calls", "agents not let in", map[string]uint64{"token": m.Unauthenticated})
	return c.list
}
