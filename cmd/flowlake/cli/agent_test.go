package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestAgentBuffer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	b, err := openAgentBuffer(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := b.id
	if id == [16]byte{} || b.damaged != "" {
		t.Errorf("id %x, damaged %q", id, b.damaged)
	}
	if _, err := openAgentBuffer(dir); err == nil {
		t.Error("two agents in one folder")
	}
	for range 3 {
		if _, err := b.log.Append([][]byte{make([]byte, 4096)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if b, err = openAgentBuffer(dir); err != nil {
		t.Fatal(err)
	}
	if b.id != id || b.log.NextIndex() != 4 {
		t.Errorf("id %x, was %x; next frame %d", b.id, id, b.log.NextIndex())
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	// Damage in the middle: the buffer starts anew under another name, what there was is set aside.
	segments, _ := filepath.Glob(filepath.Join(dir, bufferLog, "*.wal"))
	if len(segments) != 1 {
		t.Fatal(segments)
	}
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 6000); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err = openAgentBuffer(dir); err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if b.damaged == "" || b.reason == nil || b.id == id || b.log.NextIndex() != 1 {
		t.Errorf("damaged %q (%v), id %x, next %d", b.damaged, b.reason, b.id, b.log.NextIndex())
	}
	if _, err := os.Stat(b.damaged); err != nil {
		t.Error(err)
	}
}

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "flowlake"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestAgentDoorFlags(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	token, empty := filepath.Join(dir, "token"), filepath.Join(dir, "empty")
	_ = os.WriteFile(token, []byte("a-secret\n"), 0o600)
	_ = os.WriteFile(empty, []byte(" \n"), 0o600)
	for args, want := range map[string]string{
		"":                    "",
		"--grpc off":          "",
		"--grpc 0.0.0.0:7702": "say --insecure",
		"--grpc nonsense":     "not host:port",
		"--grpc 0.0.0.0:7702 --tls-cert " + cert + " --tls-key " + key:                            "--token-file",
		"--grpc 0.0.0.0:7702 --tls-cert " + cert + " --tls-key " + key + " --token-file " + token: "",
		"--grpc 0.0.0.0:7702 --tls-cert " + cert:                                                  "belong together",
		"--tls-cert " + token + " --tls-key " + key:                                               "--tls-cert",
		"--token-file " + empty:                                                                   "one word",
		"--token-file " + filepath.Join(dir, "missing"):                                           "--token-file",
	} {
		f := &agentDoorFlags{}
		fl := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.register(fl)
		if err := fl.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		err := f.check(fl, false)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
