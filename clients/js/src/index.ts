// Finds the best Linecast edge and keeps a Centrifuge client connected, whatever happens to edges and networks.

export type { Answer, Cell, Edge } from './answer.js';
export type { Backoff } from './backoff.js';
export type { GoAway } from './goaway.js';
export { connect, Linecast } from './linecast.js';
export type { CentrifugeLike, LinecastEvents, LinecastOptions } from './linecast.js';
export type { State } from './pilot.js';
export type { Platform, SocketConstructor } from './platform.js';
export type { Reported } from './reports.js';
export type { Row } from './tally.js';
