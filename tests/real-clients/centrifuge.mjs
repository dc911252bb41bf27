// The `centrifuge` SDK in both of its builds, with payloads as JavaScript values in both.
//
// The builds differ in one thing a user sees: JSON hands over parsed values, Protobuf hands over bytes.

import { Centrifuge as JsonClient, UnauthorizedError as JsonUnauthorized } from 'centrifuge';
import { Centrifuge as ProtobufClient, UnauthorizedError as ProtobufUnauthorized } from 'centrifuge/build/protobuf';
import WebSocket from 'ws';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** How to make a client and convert payloads for `json` or `protobuf`. */
export function build(protocol) {
  const protobuf = protocol === 'protobuf';
  if (!protobuf && protocol !== 'json') throw new Error(`no such build: ${protocol}`);
  const Client = protobuf ? ProtobufClient : JsonClient;
  return {
    /** A client that is not yet connected; the SDK's own defaults but for the WebSocket of Node. */
    client: (url, config = {}) => new Client(url, { websocket: WebSocket, ...config }),
    Unauthorized: protobuf ? ProtobufUnauthorized : JsonUnauthorized,
    encode: (value) => (protobuf ? encoder.encode(JSON.stringify(value)) : value),
    decode: (data) => (protobuf ? JSON.parse(decoder.decode(data)) : data),
  };
}
