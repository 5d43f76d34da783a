import { Input, Text, View } from "@tarojs/components";
import React, { useEffect, useMemo, useState } from "react";
import { smsForm } from "menshen-miniprogram/sms";
import { watched } from "menshen-miniprogram/taro";
import { client } from "../services/session";

/** A code by text message: signs in, or binds the phone. */
export function SmsForm({ purpose = "login" as "login" | "bind", onDone = () => undefined as void }) {
  const form = useMemo(() => smsForm(client, { purpose }), [purpose]);
  const useForm = useMemo(() => watched(form.getState, form.subscribe, React), [form]);
  const { left, sending } = useForm();
  const [code, setCode] = useState("");
  const [hint, setHint] = useState("");
  useEffect(() => () => form.close(), [form]);
  const run = (work: Promise<unknown>) => work.then(() => setHint(""), (error) => setHint(error.zh));

  return (
    <View>
      <View className="row">
        <Input className="input phone" type="number" maxlength={11} placeholder="手机号" onInput={({ detail }) => form.setPhone(detail.value)} />
      </View>
      <View className="row">
        <Input className="input code" type="number" maxlength={6} placeholder="验证码" onInput={({ detail }) => setCode(detail.value)} />
        <Text className="send" onClick={() => !sending && run(form.send())}>{left ? `${left} 秒后重发` : "获取验证码"}</Text>
      </View>
      <View className="button submit" onClick={() => run(form.submit(code).then(onDone))}>确定</View>
      {hint && <View className="error">{hint}</View>}
    </View>
  );
}
