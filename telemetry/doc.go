// Package telemetry sends dixie's spans to a collector: OTLP over gRPC, in batches, through an exporter that lets out
// only what a [spansanitizer.Policy] allows.
//
// [Start] returns a [Telemetry], whose TracerProvider goes to whoever starts spans; nothing is installed globally.
// Without an endpoint it is a no-op that costs nothing. A collector that is away costs nothing visible: spans wait in
// a bounded queue, then they are dropped and counted. [NewExporter] sanitises for a pipeline of one's own.
//
// # Environment
//
// The variables of the OpenTelemetry specification count where [Config] says nothing:
//
//   - OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none make it a no-op, whatever else is set. The other exporter
//     there is, is otlp.
//   - OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, then OTEL_EXPORTER_OTLP_ENDPOINT, when Config.Endpoint is empty.
//   - OTEL_EXPORTER_OTLP_TRACES_INSECURE, then OTEL_EXPORTER_OTLP_INSECURE, for an endpoint without a scheme.
//   - OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, else OTEL_EXPORTER_OTLP_PROTOCOL, may be grpc, and nothing else.
//   - OTEL_EXPORTER_OTLP_[TRACES_]HEADERS, _TIMEOUT, _COMPRESSION, _CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY.
//   - OTEL_BSP_MAX_QUEUE_SIZE when Config.QueueSize is 0, OTEL_BSP_MAX_EXPORT_BATCH_SIZE up to a quarter of the queue,
//     OTEL_BSP_SCHEDULE_DELAY and OTEL_BSP_EXPORT_TIMEOUT, above 0 and at most a day.
//   - OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG when Config.SampleRatio is 0, also those that do not heed the
//     parent.
//   - OTEL_RESOURCE_ATTRIBUTES, of which only what [spansanitizer.Policy.ResourceAttribute] allows leaves: the service's
//     version and namespace and the environment, as they are written there, and service.instance.id if it is a UUID.
//     Other keys, such as host.name, stay.
//   - OTEL_SPAN_*_LIMIT and OTEL_ATTRIBUTE_*_LIMIT, which can only make spans smaller.
//
// OTEL_SERVICE_NAME does not count: the service's name is dixie-bff unless Config names another.
//
// Of these, [Start] refuses what is malformed in OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER and OTEL_RESOURCE_ATTRIBUTES, which the
// SDK reads for metrics too, and with an endpoint in any variable of OTLP or of the sampler: with an error that matches [ErrConfig] and names
// the variable, never its value. Malformed numbers of OTEL_BSP_ and limits count as absent.
//
// OpenTelemetry's error handler is the process's, not ours, and is left as it is. Failed exports do not reach it; they
// go to Config.Logger. The exporter itself complains in the standard log, once, at the start, about an endpoint without a
// scheme that the environment names, which counts all the same.
package telemetry
