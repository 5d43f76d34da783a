/** Sessions and requests for mini programs: the core, and menshen's native API. */

export { createClient } from "./client.js";
export type { Client } from "./client.js";
export type { Abortable, Auth, ClientOptions, RequestOptions } from "./options.js";
export { native } from "./native.js";
export type { NativeOptions } from "./native.js";
export { MenshenError } from "./errors.js";
export type { ErrorInit, FieldError, Texts } from "./errors.js";
export type { Api, BoundPhone, Call, Grant, PhoneProof, Refusal, SignInMore, SmsSent, Tokens, User } from "./api.js";
export type { State } from "./state.js";
export type { Answer, Callbacks, Platform, Progress, SocketOptions, SocketTask, Start, Task, WireOptions } from "./platform.js";
