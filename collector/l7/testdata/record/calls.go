package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

// transports are the ways in which Thrift sets off and writes messages, with a port for each.
var transports = []struct {
	port     int
	frame    thrift.TTransportFactory
	protocol thrift.TProtocolFactory
}{
	{9090, thrift.NewTFramedTransportFactoryConf(thrift.NewTTransportFactory(), nil), thrift.NewTBinaryProtocolFactoryConf(nil)},
	{9091, thrift.NewTBufferedTransportFactory(8192), thrift.NewTBinaryProtocolFactoryConf(nil)},
	{9092, thrift.NewTFramedTransportFactoryConf(thrift.NewTTransportFactory(), nil), thrift.NewTCompactProtocolFactoryConf(nil)},
	{9093, thrift.NewTBufferedTransportFactory(8192), thrift.NewTCompactProtocolFactoryConf(nil)},
	{9094, thrift.NewTHeaderTransportFactoryConf(nil, nil), thrift.NewTHeaderProtocolFactoryConf(nil)},
}

func thriftScenario(ctx context.Context) error {
	for _, t := range transports {
		address := fmt.Sprintf("127.0.0.1:%d", t.port)
		socket, err := thrift.NewTServerSocket(address)
		if err != nil {
			return err
		}
		orders := thrift.NewTMultiplexedProcessor()
		orders.RegisterProcessor("Orders", shop{})
		server := thrift.NewTSimpleServer4(orders, socket, t.frame, t.protocol)
		if err := server.Listen(); err != nil {
			return err
		}
		go server.AcceptLoop()
		if err := thriftCalls(ctx, address, t.frame, t.protocol); err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
	}
	return nil
}

func thriftCalls(ctx context.Context, address string, frame thrift.TTransportFactory, protocol thrift.TProtocolFactory) error {
	transport, err := frame.GetTransport(thrift.NewTSocketConf(address, &thrift.TConfiguration{ConnectTimeout: time.Second, SocketTimeout: 5 * time.Second}))
	if err != nil {
		return err
	}
	if err := transport.Open(); err != nil {
		return err
	}
	defer transport.Close()
	out := protocol.GetProtocol(transport)
	if h, ok := out.(*thrift.THeaderProtocol); ok { // with the first call
		h.SetWriteHeader("traceparent", traceparent)
	}
	c := thrift.NewTStandardClient(protocol.GetProtocol(transport), thrift.NewTMultiplexedProtocol(out, "Orders"))
	for _, name := range []string{"Ada", "größer"} {
		var reply text
		if _, err := c.Call(ctx, "greet", &text{name, 1}, &reply); err != nil {
			return err
		}
	}
	if _, err := c.Call(ctx, "touch", &text{"7", 1}, nil); err != nil { // nobody answers
		return err
	}
	var declared text
	if _, err := c.Call(ctx, "find", &text{"missing", 1}, &declared); err != nil {
		return err
	}
	var app thrift.TApplicationException
	if _, err := c.Call(ctx, "nonsense", &text{"x", 1}, &text{}); !errors.As(err, &app) {
		return fmt.Errorf("it did not fail: %v", err)
	}
	return nil
}

// text is a structure of one text, with the number of its field.
type text struct {
	value string
	field int16
}

func (t *text) Write(ctx context.Context, p thrift.TProtocol) error {
	return errors.Join(p.WriteStructBegin(ctx, "text"), p.WriteFieldBegin(ctx, "value", thrift.STRING, t.field), p.WriteString(ctx, t.value),
		p.WriteFieldEnd(ctx), p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
}

// Read reads the first text there is, in whatever structure.
func (t *text) Read(ctx context.Context, p thrift.TProtocol) error {
	if _, err := p.ReadStructBegin(ctx); err != nil {
		return err
	}
	for {
		_, kind, _, err := p.ReadFieldBegin(ctx)
		switch {
		case err != nil:
			return err
		case kind == thrift.STOP:
			return p.ReadStructEnd(ctx)
		case kind == thrift.STRING:
			t.value, err = p.ReadString(ctx)
		case kind == thrift.STRUCT:
			err = t.Read(ctx, p)
		default:
			err = p.Skip(ctx, kind)
		}
		if err = errors.Join(err, p.ReadFieldEnd(ctx)); err != nil {
			return err
		}
	}
}

// shop is the service that is called, as generated code would have it.
type shop struct{}

func (shop) ProcessorMap() map[string]thrift.TProcessorFunction  { return nil }
func (shop) AddToProcessorMap(string, thrift.TProcessorFunction) {}

func (shop) Process(ctx context.Context, in, out thrift.TProtocol) (bool, thrift.TException) {
	name, kind, seq, err := in.ReadMessageBegin(ctx)
	if err != nil {
		return false, thrift.WrapTException(err)
	}
	var args text
	if err := errors.Join(args.Read(ctx, in), in.ReadMessageEnd(ctx)); err != nil {
		return false, thrift.WrapTException(err)
	}
	if kind == thrift.ONEWAY || name == "touch" {
		return true, nil
	}
	kind = thrift.REPLY
	var result thrift.TStruct
	switch name {
	case "greet":
		result = &text{"hello " + args.value, 0}
	case "find":
		result = &declared{text{"there is no " + args.value, 1}}
	default:
		kind, result = thrift.EXCEPTION, nil
	}
	err = out.WriteMessageBegin(ctx, name, kind, seq)
	if result == nil {
		err = errors.Join(err, thrift.NewTApplicationException(thrift.UNKNOWN_METHOD, "Unknown function "+name).Write(ctx, out))
	} else {
		err = errors.Join(err, result.Write(ctx, out))
	}
	return true, thrift.WrapTException(errors.Join(err, out.WriteMessageEnd(ctx), out.Flush(ctx)))
}

// declared is a result that is an exception which the method declares.
type declared struct{ exception text }

func (d *declared) Write(ctx context.Context, p thrift.TProtocol) error {
	return errors.Join(p.WriteStructBegin(ctx, "result"), p.WriteFieldBegin(ctx, "missing", thrift.STRUCT, 1), d.exception.Write(ctx, p),
		p.WriteFieldEnd(ctx), p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
}

func (d *declared) Read(ctx context.Context, p thrift.TProtocol) error {
	return d.exception.Read(ctx, p)
}
