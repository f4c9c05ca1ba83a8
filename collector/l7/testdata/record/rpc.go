package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// grpcScenario asks the health service: unary calls, an error, a stream.
func grpcScenario(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:50051")
	if err != nil {
		return err
	}
	srv, h := grpc.NewServer(), health.NewServer()
	h.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(srv, h)
	go srv.Serve(l)
	defer srv.Stop()
	c, err := grpc.NewClient("passthrough:///127.0.0.1:50051", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer c.Close()
	client := grpc_health_v1.NewHealthClient(c)
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", traceparent, "x-request-id", "r-1")
	for range 2 {
		if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "shop"}); err != nil {
			return err
		}
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "missing"}); status.Code(err) != codes.NotFound {
		return fmt.Errorf("a service that is not there: %v", err)
	}
	if err := c.Invoke(ctx, "/shop.Orders/Nothing", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{}); status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("a method that is not there: %v", err)
	}
	streaming, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := client.Watch(streaming, &grpc_health_v1.HealthCheckRequest{Service: "shop"})
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	h.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if _, err := stream.Recv(); err != nil {
		return err
	}
	h.Shutdown()
	stop()
	return nil
}

// websocketScenario upgrades, says something and closes.
func websocketScenario(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:8090")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for {
			kind, m, err := c.Read(r.Context())
			if err != nil {
				return
			}
			_ = c.Write(r.Context(), kind, m)
		}
	})}
	go srv.Serve(l)
	defer srv.Close()
	c, _, err := websocket.Dial(ctx, "ws://127.0.0.1:8090/feed", &websocket.DialOptions{HTTPHeader: http.Header{"Traceparent": {traceparent}}})
	if err != nil {
		return err
	}
	for i := range 3 {
		if err := c.Write(ctx, websocket.MessageText, fmt.Append(nil, "tick ", i)); err != nil {
			return err
		}
		if _, _, err := c.Read(ctx); err != nil {
			return err
		}
	}
	if err := c.Close(websocket.StatusGoingAway, "enough"); err != nil {
		return err
	}
	_, err = http.Get("http://127.0.0.1:8090/feed") // no upgrade: refused
	return err
}
